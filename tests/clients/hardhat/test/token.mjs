// Run by `hardhat test nodejs --network openledger`: every test speaks to the node.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { before, describe, it } from "node:test";

import { artifacts, network } from "hardhat";

const { ethers } = await network.create();

describe("a token on a node", () => {
  let token, payer, other;

  before(async () => {
    [payer, other] = await ethers.getSigners();
    token = await ethers.deployContract("TestToken");
    await token.waitForDeployment();
  });

  it("is compiled to the bytes that are committed", async () => {
    const committed = JSON.parse(readFileSync(process.env.OPENLEDGER_TOKEN));
    assert.equal((await artifacts.readArtifact("TestToken")).bytecode, committed.bytecode);
  });

  it("gives everything to whoever deploys it", async () => {
    assert.equal(await token.balanceOf(payer.address), await token.totalSupply());
  });

  it("moves, and says so in a log", async () => {
    const receipt = await (await token.transfer(other.address, 42n)).wait();
    assert.equal(await token.balanceOf(other.address), 42n);
    const logs = await token.queryFilter("Transfer", receipt.blockNumber, receipt.blockNumber);
    assert.deepEqual(logs.map((log) => [...log.args]), [[payer.address, other.address, 42n]]);
  });

  it("reverts with its own error", async () => {
    const poor = token.connect(other).transfer(payer.address, 43n);
    await assert.rejects(poor, (error) => token.interface.parseError(error.data).name === "BalanceTooSmall");
  });
});
