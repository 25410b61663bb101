// Plays a file in asciinema's own player, without a screen: node play.mjs FOLDER FILE.
// Prints what the player would show, as JSON; FOLDER has node_modules.
import { readFileSync, readdirSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [folder, file] = process.argv.slice(2);
const dist = pathToFileURL(`${folder}/node_modules/asciinema-player/dist/`);
const name = readdirSync(dist).find((each) => each.startsWith("core-"));
const { C: Core } = await import(new URL(name, dist));
const url = "data:text/plain;base64," + readFileSync(file).toString("base64");
const logger = { debug() {}, info() {}, warn() {}, error: console.error };
const core = new Core({ url }, { logger, speed: 1000, autoPlay: true, preload: true });
const seen = [];
for (const kind of ["output", "resize", "marker", "metadata", "reset", "ended", "error"]) {
  core.addEventListener(kind, (event) => {
    seen.push([kind, event]);
    if (kind === "ended" || kind === "error") {
      console.log(JSON.stringify(seen));
      process.exit(kind === "error" ? 1 : 0);
    }
  });
}
core.terminalReady();
await core.init();
