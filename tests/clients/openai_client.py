"""The `openai` client against `openledger serve`: models, chat, completions, streams, usage, errors, mixed adapters.

OPENLEDGER_SERVE is the URL, OPENLEDGER_SERVE_TOKEN the token. The model is one of the small random ones among the fixtures,
with adapters `adapter0` to `adapter7` beside it: what it says means nothing, and is the same whenever it is asked the same.
"""

import os

import openai

URL, TOKEN = os.environ["OPENLEDGER_SERVE"], os.environ["OPENLEDGER_SERVE_TOKEN"]
client = openai.OpenAI(base_url=URL, api_key=TOKEN, max_retries=0, timeout=60)
checks = 0


def check(holds, what):
    global checks
    assert holds, what
    checks += 1


def refused(kind, status, param, ask):
    try:
        ask()
    except kind as error:
        check(error.status_code == status, f"{error.status_code}: {error}")
        check(error.body["param"] == param, error.body)
        check(error.body["message"], error.body)
        return error
    raise AssertionError(f"not refused with {status}")


# Models: the base and its adapters, whole and by pages.
cards = list(client.models.list())
base = cards[0].id
names = [card.id for card in cards[1:]]
check(names == [f"adapter{n}" for n in range(8)], names)
check(all(card.parent == base for card in cards[1:]) and cards[0].root.startswith("0x"), cards[0])
page = client.models.list(extra_query={"limit": 3})
check([card.id for card in page.data] == [base, "adapter0", "adapter1"] and page.has_more, page)
page = client.models.list(extra_query={"limit": 30, "after": "adapter1"})
check([card.id for card in page.data] == names[2:] and not page.has_more, page)
check(client.models.retrieve("adapter3").id == "adapter3", "one model")
refused(openai.NotFoundError, 404, "model", lambda: client.models.retrieve("nobody"))

# Chat: the same twice, whole and as a stream.
messages = [{"role": "user", "content": "hello world"}]
greedy = {"model": base, "messages": messages, "temperature": 0, "max_tokens": 12, "extra_body": {"ignore_eos": True}}
first = client.chat.completions.create(**greedy)
again = client.chat.completions.create(**greedy)
check(first.choices[0].message.content == again.choices[0].message.content, "greedy answers are alike")
check(first.choices[0].message.role == "assistant" and first.choices[0].finish_reason == "length", first)
check(first.object == "chat.completion" and first.id != again.id and first.model == base, first)
check(first.usage.completion_tokens == 12, first.usage)
check(first.usage.total_tokens == first.usage.prompt_tokens + 12, first.usage)

stream = list(client.chat.completions.create(**greedy, stream=True, stream_options={"include_usage": True}))
check(stream[0].choices[0].delta.role == "assistant" and stream[0].choices[0].delta.content == "", stream[0])
check(stream[-1].choices == [] and stream[-1].usage == again.usage, stream[-1])
check(stream[-2].choices[0].finish_reason == "length", stream[-2])
check(all(chunk.choices[0].finish_reason is None for chunk in stream[:-2]), "only the last says why")
text = "".join(chunk.choices[0].delta.content or "" for chunk in stream[:-1])
check(text == first.choices[0].message.content, (text, first.choices[0].message.content))
check(len({chunk.id for chunk in stream}) == 1, "one name for all pieces")

# Adapters: by name, behind the base, mixed, by content.
def said(model, **more):
    extra = {"ignore_eos": True, **more}
    answer = client.completions.create(model=model, prompt="one two", max_tokens=12, temperature=0, extra_body=extra)
    return answer.choices[0].text, answer.model_extra["openledger"]


plain, _ = said(base)
one, served = said("adapter0")
check(one != plain, "an adapter changes the answer")
check(said(f"{base}:adapter0")[0] == one, "behind the base")
check(said(f"adapter0@{served['adapters'][0]['hash']}")[0] == one, "by content")
check(said(base, adapters=[{"name": "adapter0", "weight": 1.0}])[0] == one, "a mix of one")
mixed, served = said(base, adapters=[{"name": "adapter0", "weight": 0.5}, {"name": "adapter1", "weight": 0.5}])
check([part["name"] for part in served["adapters"]] == ["adapter0", "adapter1"], served)
check(said("adapter0", verified=True)[0] == one, "verified answers are alike")
refused(openai.NotFoundError, 404, "model", lambda: said("nobody"))
refused(openai.NotFoundError, 404, "model", lambda: said("adapter0@0x" + "00" * 32))

# Completions: texts and tokens, several prompts, several choices, what is echoed, seeds, biases, stops.
batch = client.completions.create(model=base, prompt=["one two", "hello"], max_tokens=5, temperature=0, n=2)
check([choice.index for choice in batch.choices] == [0, 1, 2, 3], batch)
check(batch.choices[0].text == batch.choices[1].text, "greedy choices are alike")
tokens = client.completions.create(model=base, prompt=[5, 6, 7], max_tokens=5, temperature=0)
check(tokens.usage.prompt_tokens == 3, tokens.usage)
scored = client.completions.create(model=base, prompt="one two", max_tokens=3, temperature=0, logprobs=2, echo=True,
                                   extra_body={"ignore_eos": True})
check(scored.choices[0].text.startswith("one two"), scored)
logprobs = scored.choices[0].logprobs
check(len(logprobs.tokens) == scored.usage.total_tokens and logprobs.token_logprobs[0] is None, logprobs)
check(all(len(top) <= 2 for top in logprobs.top_logprobs[1:]), logprobs.top_logprobs)
chat = client.chat.completions.create(model=base, messages=messages, max_tokens=3, logprobs=True, top_logprobs=4,
                                      temperature=0, extra_body={"ignore_eos": True})
check([len(token.top_logprobs) for token in chat.choices[0].logprobs.content] == [4, 4, 4], chat)


def drawn(seed):
    return client.completions.create(model=base, prompt="one", max_tokens=16, temperature=1.5, seed=seed,
                                     extra_body={"ignore_eos": True, "top_k": -1, "top_p": 1}).choices[0].text


check(drawn(1) == drawn(1) and len({drawn(seed) for seed in range(4)}) > 1, "a seed decides")
biased = client.completions.create(model=base, prompt="one", max_tokens=4, temperature=0, logit_bias={"50": 100},
                                   logprobs=0, extra_body={"ignore_eos": True})
check(len(set(biased.choices[0].logprobs.tokens)) == 1, biased)
piece = plain.strip()[:2]
stopped = client.completions.create(model=base, prompt="one two", max_tokens=12, temperature=0, stop=[piece],
                                    extra_body={"ignore_eos": True})
check(stopped.choices[0].finish_reason == "stop" and piece not in stopped.choices[0].text, stopped)

# What is wrong is refused by name.
bad = openai.BadRequestError
ask = client.chat.completions.create
for field, value in [("temperature", 9), ("top_p", -1), ("n", 0), ("n", 10_000), ("max_tokens", -1), ("presence_penalty", 7),
                     ("logit_bias", {"99999999": 1}), ("seed", "x"), ("stop", ["x"] * 99), ("top_logprobs", 99)]:
    more = {"logprobs": True} if field == "top_logprobs" else {}
    refused(bad, 400, field, lambda: ask(model=base, messages=messages, extra_body={field: value, **more}))
refused(bad, 400, "messages", lambda: ask(model=base, messages=[]))
refused(bad, 400, "messages", lambda: ask(model=base, messages=[{"role": "nobody", "content": "x"}]))
picture = [{"type": "image_url", "image_url": {"url": "data:,"}}]
refused(bad, 400, "messages", lambda: ask(model=base, messages=[{"role": "user", "content": picture}]))
refused(bad, 400, "response_format", lambda: ask(model=base, messages=messages, response_format={"type": "json_object"}))
long = refused(bad, 400, "prompt", lambda: client.completions.create(model=base, prompt=[5] * 5000))
check(long.code == "context_length_exceeded", long.body)
refused(openai.AuthenticationError, 401, None, lambda: client.with_options(api_key="wrong").models.list())

# Whoever goes away half-way leaves the engine as it was.
for _ in range(5):
    going = ask(**{**greedy, "max_tokens": 60}, stream=True)
    next(iter(going))
    going.close()
check(client.chat.completions.create(**greedy).choices[0].message.content == text, "others are served on")

# Adapters come and go; a generation that is not expected is refused.
post = lambda path, body: client.post(path, body=body, cast_to=object)
loaded = post("/load_lora_adapter", {"lora_name": "fresh", "lora_path": "adapter2"})
check(said("fresh")[0] == said("adapter2")[0], "a second name for the same content")
again = {"lora_name": "fresh", "lora_path": "adapter3"}
refused(openai.ConflictError, 409, "expected_generation", lambda: post("/load_lora_adapter", again))
moved = post("/load_lora_adapter", {**again, "expected_generation": loaded["generation"]})
check(moved["generation"] > loaded["generation"] and said("fresh")[0] == said("adapter3")[0], moved)
refused(bad, 400, "lora_path", lambda: post("/load_lora_adapter", {"lora_name": "out", "lora_path": "/etc"}))
post("/unload_lora_adapter", {"lora_name": "fresh"})
refused(openai.NotFoundError, 404, "model", lambda: said("fresh"))
status = client.get("/lora_adapters", cast_to=object)["data"]
check(status[0]["tier"] in ("device", "host") and status[0]["rank"] > 0 and status[0]["hash"], status[0])

print(f"openai {openai.__version__}: {checks} checks")
