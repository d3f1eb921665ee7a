// Lets a library sign: its name, the secret and the time in seconds as arguments, the body on standard input.
// Prints the headers as JSON. Run in the folder where the libraries are.

import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const [library, secret, time] = process.argv.slice(2);
const body = readFileSync(0, 'utf8');
const require = createRequire(pathToFileURL(`${process.cwd()}/`));
const load = async (name) => import(pathToFileURL(require.resolve(name)));
const moment = new Date(Number(time) * 1000);

const signers = {
  async standardwebhooks() {
    const { Webhook } = await load('standardwebhooks');
    return {
      'webhook-id': 'msg_1',
      'webhook-timestamp': time,
      'webhook-signature': new Webhook(secret).sign('msg_1', moment, body),
    };
  },
  async svix() {
    const { Webhook } = await load('svix');
    return {
      'svix-id': 'msg_1',
      'svix-timestamp': time,
      'svix-signature': new Webhook(secret).sign('msg_1', moment, body),
    };
  },
  async stripe() {
    const { default: Stripe } = await load('stripe');
    const signed = { payload: body, secret, timestamp: Number(time) };
    return { 'stripe-signature': new Stripe('sk_test_x').webhooks.generateTestHeaderString(signed) };
  },
  // As Discord signs: the secret is the seed of the key in hex.
  async tweetnacl() {
    const { default: nacl } = await load('tweetnacl');
    const { secretKey } = nacl.sign.keyPair.fromSeed(Buffer.from(secret, 'hex'));
    const signature = nacl.sign.detached(Buffer.from(time + body), secretKey);
    return {
      'x-signature-timestamp': time,
      'x-signature-ed25519': Buffer.from(signature).toString('hex'),
    };
  },
};

process.stdout.write(JSON.stringify(await signers[library]()));
