"""web3.py: connect, send, deploy, call, read logs, subscribe, and check a proof with its own hash and RLP."""

import asyncio
import json
import os

import rlp
from eth_account import Account
from eth_utils import keccak
from web3 import AsyncWeb3, Web3, WebSocketProvider
from web3.exceptions import ContractCustomError

from trie import walk

RPC = os.environ["OPENLEDGER_RPC"]
with open(os.environ["OPENLEDGER_TOKEN"]) as file:
    TOKEN = json.load(file)
# Everybody knows these keys: `openledger devnet` prints them.
PAYER = Account.from_key("0x5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a")
OTHER = Account.from_key("0x7c852118294e51e653712a81e05800f419141751be58f605c371e15141b007a6").address


def check_proof(state_root, proof):
    number = lambda value: rlp.sedes.big_endian_int.serialize(int(value))
    account = [number(proof.nonce), number(proof.balance), bytes(proof.storageHash), bytes(proof.codeHash)]
    nodes = [bytes(node) for node in proof.accountProof]
    assert walk(bytes(state_root), bytes.fromhex(proof.address[2:]), nodes) == rlp.encode(account)
    for slot in proof.storageProof:
        value = int.from_bytes(slot.value, "big")
        found = walk(bytes(proof.storageHash), bytes(slot.key).rjust(32, b"\0"), [bytes(node) for node in slot.proof])
        assert found == (rlp.encode(number(value)) if value else None)


def send(w3, transaction):
    common = {"from": PAYER.address, "nonce": w3.eth.get_transaction_count(PAYER.address), "chainId": 1337}
    transaction = transaction.build_transaction(common) if hasattr(transaction, "build_transaction") else {
        **common, **transaction, "gas": 21000, "maxFeePerGas": 10**10, "maxPriorityFeePerGas": 10**9}
    signed = PAYER.sign_transaction(transaction)
    receipt = w3.eth.wait_for_transaction_receipt(w3.eth.send_raw_transaction(signed.raw_transaction), 20, 0.05)
    assert receipt.status == 1
    return receipt


async def three_heads():
    async with AsyncWeb3(WebSocketProvider(RPC.replace("http", "ws", 1))) as w3:
        await w3.eth.subscribe("newHeads")
        heads = []
        async for message in w3.socket.process_subscriptions():
            heads.append(int(message["result"]["number"]))
            if len(heads) == 3:
                return heads


def main():
    w3 = Web3(Web3.HTTPProvider(RPC))
    assert w3.eth.chain_id == 1337
    before = w3.eth.get_balance(OTHER)
    send(w3, {"to": OTHER, "value": 15 * 10**17})
    assert w3.eth.get_balance(OTHER) - before == 15 * 10**17

    factory = w3.eth.contract(abi=TOKEN["abi"], bytecode=TOKEN["bytecode"])
    token = w3.eth.contract(send(w3, factory.constructor()).contractAddress, abi=TOKEN["abi"])
    assert token.functions.symbol().call() == "TEST"
    moved = send(w3, token.functions.transfer(OTHER, 42))
    assert token.functions.balanceOf(OTHER).call() == 42
    at = moved.blockNumber
    logs = token.events.Transfer.get_logs(from_block=at, to_block=at)
    assert [dict(log.args) for log in logs] == [{"from": PAYER.address, "to": OTHER, "value": 42}]
    try:
        token.functions.transfer(PAYER.address, 1).call({"from": "0x00000000000000000000000000000000000000bb"})
        raise AssertionError("a transfer of nothing that is there went through")
    except ContractCustomError as error:
        assert error.data.startswith("0x" + keccak(text="BalanceTooSmall(uint256,uint256)")[:4].hex())

    slot = int.from_bytes(keccak(bytes.fromhex(OTHER[2:]).rjust(32, b"\0") + bytes(32)), "big")
    proof = w3.eth.get_proof(token.address, [slot, slot + 1], at)
    assert int.from_bytes(proof.storageProof[0].value, "big") == 42
    check_proof(w3.eth.get_block(at).stateRoot, proof)

    heads = asyncio.run(asyncio.wait_for(three_heads(), 15))
    assert heads == list(range(heads[0], heads[0] + 3)), f"a head was left out: {heads}"
    print(f"web3.py: token {token.address} at block {at}, 3 heads in order, proof holds")


main()
