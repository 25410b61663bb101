// Reads groups and secrets with the SDK for JavaScript, and prints what it got as JSON.
// Usage: read.cjs URL-OF-THE-VAULT SUBSCRIPTION

const { DefaultAzureCredential } = require("@azure/identity");
const { ResourceManagementClient } = require("@azure/arm-resources");
const { SecretClient } = require("@azure/keyvault-secrets");

async function main([vault, subscription]) {
  const credential = new DefaultAzureCredential();
  const manager = new ResourceManagementClient(credential, subscription, {
    endpoint: process.env.HOOPGW_ARM_URL,
  });
  const secrets = new SecretClient(vault, credential);
  const found = { groups: [], names: [] };
  for await (const group of manager.resourceGroups.list()) found.groups.push(group.name);
  for await (const each of secrets.listPropertiesOfSecrets()) found.names.push(each.name);
  const secret = await secrets.getSecret("secret1");
  found.value = secret.value;
  found.id = secret.properties.id;
  try {
    await secrets.getSecret("secret2");
  } catch (error) {
    found.refused = { status: error.statusCode, message: error.message };
  }
  console.log(JSON.stringify(found));
}

main(process.argv.slice(2)).catch((error) => {
  console.error(error);
  process.exit(1);
});
