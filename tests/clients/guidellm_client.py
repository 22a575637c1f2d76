"""The load tool `guidellm` against `openledger serve`: chats and completions of the base model and of each adapter, several
at once; every request must be answered to its last token. Prints what the tool measured.

    python -m venv guide && guide/bin/pip install guidellm==0.8.1
    OPENLEDGER_SERVE=URL OPENLEDGER_SERVE_TOKEN=TOKEN OPENLEDGER_SERVE_MODEL=DIR guide/bin/python guidellm_client.py

OPENLEDGER_SERVE is the URL as `serve` tells it, OPENLEDGER_SERVE_MODEL the directory of the base model, whose tokenizer the
tool makes its prompts with. GUIDELLM_MODELS names the models to ask, by commas; the base and all adapters if not given.
The tool installs PyTorch, so it is no part of requirements.txt.
"""

import json, os, pathlib, subprocess, sys, tempfile, urllib.request

URL, TOKEN = os.environ["OPENLEDGER_SERVE"], os.environ["OPENLEDGER_SERVE_TOKEN"]
MODEL = os.environ["OPENLEDGER_SERVE_MODEL"]
TOOL = pathlib.Path(sys.executable).parent / "guidellm"
REQUESTS, STREAMS, PROMPT, ANSWER = 64, 8, 20, 24


def models():
    if names := os.environ.get("GUIDELLM_MODELS"):
        return names.split(",")
    asked = urllib.request.Request(f"{URL}/models", headers={"Authorization": f"Bearer {TOKEN}"})
    return [card["id"] for card in json.load(urllib.request.urlopen(asked))["data"]]


def load(model, form, to):
    """Runs the tool once; what it measured."""
    backend = {"kind": "openai_http", "target": URL.removesuffix("/v1"), "model": model, "api_key": TOKEN,
               "request_format": form}
    command = [
        TOOL, "run", "--disable-console",
        "--backend", json.dumps(backend),
        "--profile", f"kind=concurrent,streams={STREAMS}",
        "--constraint", f"kind=max_requests,count={REQUESTS}",
        "--tokenizer", f"kind=huggingface_auto,model={MODEL}",
        "--data", f"kind=synthetic_text,prompt_tokens={PROMPT},output_tokens={ANSWER}",
        "--output", f"kind=json,path={to}",
    ]
    ran = subprocess.run(command, env=os.environ | {"HF_HUB_OFFLINE": "1"}, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return json.loads(to.read_text())["benchmarks"][0]


checks = 0
with tempfile.TemporaryDirectory() as home:
    for model in models():
        for form in ["/v1/chat/completions", "/v1/completions"]:
            told = load(model, form, pathlib.Path(home) / "report.json")
            requests, metrics = told["requests"], told["metrics"]
            assert not requests["errored"], requests["errored"][0]
            answered = requests["successful"]
            assert len(answered) >= REQUESTS - STREAMS, f"{len(answered)} of {REQUESTS} were answered"
            short = [one for one in answered if one["output_tokens"] != ANSWER]
            assert not short, f"an answer of {short[0]['output_tokens']} tokens where {ANSWER} were asked for"
            checks += len(answered)
            first, between = metrics["time_to_first_token_ms"]["successful"], metrics["inter_token_latency_ms"]["successful"]
            print(f"{model} {form}: {len(answered)} answers of {ANSWER} tokens to {STREAMS} streams in"
                  f" {told['duration']:.2f} s, {len(answered) * ANSWER / told['duration']:.0f} tokens/s;"
                  f" first token {first['median']:.1f} ms, next {between['mean']:.2f} ms")
print(f"guidellm: {checks} answers, all whole")
