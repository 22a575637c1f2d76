// What every script of this folder is told, and the walk through a Merkle-Patricia proof, which no client library has.
// The hash, the RLP decoder and the trust in nothing but the root are the client's own.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";

const env = (name) => process.env[name] ?? assert.fail(`${name} is not set; run \`cargo xtask clients\``);

export const RPC = env("OPENLEDGER_RPC");
export const WS = RPC.replace(/^http/, "ws");
export const TOKEN = JSON.parse(readFileSync(env("OPENLEDGER_TOKEN")));
export const CHAIN_ID = 1337;
// Everybody knows these keys: `openledger devnet` prints them.
export const KEYS = [
  "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
  "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d",
  "0x5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a",
];

/// The value under keccak256(key) in the trie of this root, as RLP; null if the nodes prove that there is none.
export function walk({ keccak256, decode }, root, key, nodes) {
  const path = keccak256(key).slice(2);
  let want = root;
  let at = 0;
  for (const [index, bytes] of nodes.entries()) {
    assert.equal(keccak256(bytes), want, `proof node ${index} is not the one its parent names`);
    let node = decode(bytes);
    for (;;) {
      if (node.length === 17) {
        node = node[Number.parseInt(path[at++], 16)];
      } else {
        const flag = Number.parseInt(node[0][2], 16);
        const rest = node[0].slice(flag & 1 ? 3 : 4);
        const fits = path.startsWith(rest, at);
        if (flag & 2) return fits && at + rest.length === path.length ? node[1] : null;
        if (!fits) return null;
        at += rest.length;
        node = node[1];
      }
      if (node === "0x") return null;
      // A child that is a list lies inside its parent; one of 32 bytes is the next node of the proof.
      if (!Array.isArray(node)) break;
    }
    want = node;
  }
  return assert.fail("the proof ends before the key does");
}

/// Checks an answer of eth_getProof against a state root: the account, then its slots.
export function checkProof(own, stateRoot, proof) {
  const { encode, number } = own;
  const account = walk(own, stateRoot, proof.address, proof.accountProof);
  assert.equal(account, encode([number(proof.nonce), number(proof.balance), proof.storageHash, proof.codeHash]));
  for (const slot of proof.storageProof) {
    const key = "0x" + slot.key.slice(2).padStart(64, "0");
    const found = walk(own, proof.storageHash, key, slot.proof);
    assert.equal(found, BigInt(slot.value) === 0n ? null : encode(number(slot.value)));
  }
}

/// The slot of balanceOf[account]: the mapping is the token's first variable.
export const balanceSlot = (keccak256, account) => keccak256("0x" + account.slice(2).toLowerCase().padStart(64, "0") + "0".repeat(64));

export async function within(seconds, what, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} did not happen within ${seconds} s`)), seconds * 1000);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}
