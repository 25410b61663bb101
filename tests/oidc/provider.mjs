// An OpenID Connect provider for tests, on loopback, that can be told to misbehave.
//
//   node provider.mjs FOLDER      FOLDER has node_modules; prints "listening on URL"
//
// Anybody may log in as anybody. Accounts: alice (groups dba, staff), over (too many groups, as Entra
// ID says it), and whoever else (no groups). Clients: hoopgw-cli (public), ci (secret "ci-secret").
//
//   POST /_test/rotate            a new signing key; the old one stays published
//   POST /_test/retire            only the newest key stays published
//   POST /_test/fault?jwks=KIND   500, empty, slow, redirect, huge, or nothing to mend it

import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const folder = process.argv[2];
const { Provider } = await import(
  pathToFileURL(join(folder, 'node_modules/oidc-provider/lib/index.js')).href
);

const groups = { alice: ['dba', 'staff'], bob: ['dba'] };
let keys = [newKey()];
let fault = '';
let issuer;
let handle;

function newKey() {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const kid = randomBytes(8).toString('hex');
  return { ...privateKey.export({ format: 'jwk' }), kid, alg: 'RS256', use: 'sig' };
}

function claimsOf(id) {
  const claims = { sub: id, name: id, email: `${id}@example.com` };
  if (id === 'over') {
    claims._claim_names = { groups: 'src1' };
    claims._claim_sources = { src1: { endpoint: 'https://graph.example/never-called' } };
  } else if (groups[id]) {
    claims.groups = groups[id];
  }
  return claims;
}

const overage = ['_claim_names', '_claim_sources'];

function build() {
  handle = new Provider(issuer, {
    jwks: { keys },
    clients: [
      {
        client_id: 'hoopgw-cli',
        token_endpoint_auth_method: 'none',
        application_type: 'native',
        grant_types: ['authorization_code', 'urn:ietf:params:oauth:grant-type:device_code'],
        response_types: ['code'],
        redirect_uris: ['http://127.0.0.1/callback'],
      },
      {
        client_id: 'ci',
        client_secret: 'ci-secret',
        token_endpoint_auth_method: 'client_secret_post',
        grant_types: ['client_credentials'],
        response_types: [],
        redirect_uris: [],
      },
      {
        client_id: 'stranger',
        client_secret: 'stranger-secret',
        token_endpoint_auth_method: 'client_secret_post',
        grant_types: ['client_credentials'],
        response_types: [],
        redirect_uris: [],
      },
    ],
    claims: {
      openid: ['sub', 'groups', ...overage],
      profile: ['name'],
      email: ['email'],
    },
    conformIdTokenClaims: false,
    async findAccount(_ctx, id) {
      return { accountId: id, claims: async () => claimsOf(id) };
    },
    pkce: { required: () => true },
    cookies: { keys: [randomBytes(16).toString('hex')] },
    ttl: { AccessToken: 600, ClientCredentials: 600, DeviceCode: 60, IdToken: 600 },
    features: {
      clientCredentials: { enabled: true },
      deviceFlow: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: async () => 'urn:hoopgw',
        getResourceServerInfo: async () => ({
          scope: '',
          audience: 'hoopgw',
          accessTokenFormat: 'jwt',
          jwt: { sign: { alg: 'RS256' } },
        }),
      },
    },
  }).callback();
}

function answer(response, status, body, headers = {}) {
  response.writeHead(status, { 'content-type': 'application/json', ...headers });
  response.end(body);
}

function misbehave(response) {
  switch (fault) {
    case '500':
      return answer(response, 500, '{}');
    case 'empty':
      return answer(response, 200, '{"keys":[]}');
    case 'redirect':
      return answer(response, 302, '', { location: `${issuer}/jwks?again` });
    case 'huge':
      return answer(response, 200, `{"keys":[],"x":"${'x'.repeat(300 * 1024)}"}`);
    default:
      return undefined; // slow: nothing is ever answered
  }
}

const server = createServer((request, response) => {
  const url = new URL(request.url, issuer);
  if (url.pathname.startsWith('/_test/') && request.method === 'POST') {
    if (url.pathname === '/_test/rotate') keys = [newKey(), ...keys];
    if (url.pathname === '/_test/retire') keys = keys.slice(0, 1);
    if (url.pathname === '/_test/fault') fault = url.searchParams.get('jwks') ?? '';
    else build();
    return answer(response, 200, '{}');
  }
  if (url.pathname === '/jwks' && fault && url.search === '') return misbehave(response);
  return handle(request, response);
});

server.listen(0, '127.0.0.1', () => {
  issuer = `http://127.0.0.1:${server.address().port}`;
  build();
  console.log(`listening on ${issuer}`);
});
