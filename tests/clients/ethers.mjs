// ethers: connect, send, deploy, call, read logs, subscribe, and check a proof with ethers' own hash and RLP.

import assert from "node:assert/strict";
import {
  ContractFactory, JsonRpcProvider, NonceManager, Wallet, WebSocketProvider, decodeRlp, encodeRlp, keccak256, parseEther, toBeHex,
} from "ethers";

import { CHAIN_ID, KEYS, RPC, TOKEN, WS, balanceSlot, checkProof, within } from "./here.mjs";

const node = new JsonRpcProvider(RPC, undefined, { pollingInterval: 50, cacheTimeout: -1 });
const wallet = new NonceManager(new Wallet(KEYS[1], node));
const from = await wallet.getAddress();
const other = new Wallet(KEYS[2]).address;

assert.equal((await node.getNetwork()).chainId, BigInt(CHAIN_ID));

const live = new WebSocketProvider(WS);
const heads = [];
const three = new Promise((resolve) => {
  live.on("block", (number) => { if (heads.push(number) === 3) resolve(); });
});

const before = await node.getBalance(other);
const paid = await (await wallet.sendTransaction({ to: other, value: parseEther("1.5") })).wait();
assert.equal(paid.status, 1);
assert.equal((await node.getBalance(other)) - before, parseEther("1.5"));

const token = await new ContractFactory(TOKEN.abi, TOKEN.bytecode, wallet).deploy();
await token.waitForDeployment();
const address = await token.getAddress();
assert.equal(await token.symbol(), "TEST");
const moved = await (await token.transfer(other, 42n)).wait();
assert.equal(await token.balanceOf(other), 42n);
const logs = await token.queryFilter("Transfer", moved.blockNumber, moved.blockNumber);
assert.deepEqual(logs.map((log) => [...log.args]), [[from, other, 42n]]);

// A revert comes back as the contract's own error, by name.
const poor = token.connect(new Wallet(KEYS[0], node));
await assert.rejects(poor.transfer.staticCall(other, 1n), (error) => error.revert?.name === "BalanceTooSmall");

const own = {
  keccak256,
  decode: decodeRlp,
  encode: encodeRlp,
  number: (value) => (BigInt(value) === 0n ? "0x" : toBeHex(BigInt(value))),
};
const at = toBeHex(moved.blockNumber).replace(/^0x0+/, "0x");
const block = await node.send("eth_getBlockByNumber", [at, false]);
const slots = [balanceSlot(keccak256, other), balanceSlot(keccak256, address)];
const proof = await node.send("eth_getProof", [address, slots, at]);
assert.equal(BigInt(proof.storageProof[0].value), 42n);
checkProof(own, block.stateRoot, proof);

await within(15, "three heads", three);
heads.forEach((head, index) => assert.equal(head, heads[0] + index, "a head was left out"));
console.log(`ethers: token ${address} at block ${moved.blockNumber}, ${heads.length} heads in order, proof holds`);
process.exit(0);
