use super::*;

fn parsed(kind: Kind, body: &str) -> Result<ParsedRequest, ApiError> {
    let names = Names {
        base: "base".to_owned(),
    };
    read(kind, body.as_bytes(), &names, &Generation::default())
}

fn refused(kind: Kind, body: &str) -> String {
    let error = parsed(kind, body).map(|_| body.to_owned()).unwrap_err();
    error.object()["error"]["param"].as_str().unwrap_or("none").to_owned()
}

#[test]
fn a_model_name_is_the_base_or_an_adapter_with_or_without_the_base() {
    for (model, expect) in [
        ("base", vec![]),
        ("tone", vec![("tone".to_owned(), 1.0)]),
        ("base:tone", vec![("tone".to_owned(), 1.0)]),
        ("tone@0x12", vec![("tone@0x12".to_owned(), 1.0)]),
    ] {
        let body = format!(r#"{{"model":"{model}","prompt":"x"}}"#);
        let request = parsed(Kind::Completion, &body).unwrap().requests.remove(0);
        assert_eq!(request.adapters, expect, "{model}");
    }
}

#[test]
fn adapters_are_mixed_over_the_base_only() {
    let body = r#"{"model":"base","prompt":"x","adapters":[{"name":"a","weight":0.5},{"name":"base:b"}]}"#;
    let request = parsed(Kind::Completion, body).unwrap().requests.remove(0);
    assert_eq!(request.adapters, [("a".to_owned(), 0.5), ("b".to_owned(), 1.0)]);
    let over = r#"{"model":"c","prompt":"x","adapters":[{"name":"a"}]}"#;
    assert_eq!(refused(Kind::Completion, over), "adapters");
    let itself = r#"{"model":"base","prompt":"x","adapters":[{"name":"base"}]}"#;
    assert_eq!(refused(Kind::Completion, itself), "adapters");
}

#[test]
fn an_invalid_field_is_refused_by_name() {
    for (field, value) in [
        ("n", "0"),
        ("n", "100000"),
        ("n", "-1"),
        ("n", "1.5"),
        ("temperature", "\"hot\""),
        ("max_tokens", "0"),
        ("max_tokens", "-5"),
        ("max_tokens", "99999999999"),
        ("top_k", "-7"),
        ("seed", "1e99"),
        ("stop", "7"),
        ("stop_token_ids", "[-1]"),
        ("logit_bias", "{\"x\":1}"),
        ("logit_bias", "[]"),
        ("stream_options", "true"),
        ("response_format", "{\"type\":\"json_object\"}"),
        ("best_of", "3"),
        ("suffix", "\"end\""),
        ("verified", "\"yes\""),
        ("adapters", "[{\"weight\":1}]"),
        ("user", "7"),
    ] {
        let body = format!(r#"{{"model":"base","prompt":"x","{field}":{value}}}"#);
        assert_eq!(refused(Kind::Completion, &body), field, "{body}");
    }
    for (body, field) in [
        (r#"{"prompt":"x"}"#, "model"),
        (r#"{"model":"base"}"#, "prompt"),
        (r#"{"model":"base","prompt":{}}"#, "prompt"),
    ] {
        assert_eq!(refused(Kind::Completion, body), field, "{body}");
    }
    for (body, field) in [
        (r#"{"model":"base"}"#, "messages"),
        (r#"{"model":"base","messages":[]}"#, "messages"),
        (r#"{"model":"base","messages":[{}],"top_logprobs":2}"#, "top_logprobs"),
    ] {
        assert_eq!(refused(Kind::Chat, body), field, "{body}");
    }
}

#[test]
fn a_number_out_of_range_is_refused_with_its_limits() {
    for (kind, field, value, expect) in [
        (
            Kind::Chat,
            "n",
            "0",
            "is 0, it must be a whole number between 1 and 128",
        ),
        (
            Kind::Chat,
            "n",
            "129",
            "is 129, it must be a whole number between 1 and 128",
        ),
        (
            Kind::Chat,
            "n",
            "-1",
            "is -1, it must be a whole number between 1 and 128",
        ),
        (
            Kind::Chat,
            "max_completion_tokens",
            "0",
            "is 0, it must be a whole number between 1 and 4294967295",
        ),
        (
            Kind::Completion,
            "max_tokens",
            "99999999999",
            "is 99999999999, it must be a whole number between 1 and 4294967295",
        ),
        (
            Kind::Completion,
            "logprobs",
            "21",
            "is 21, it must be a whole number between 0 and 20",
        ),
        (
            Kind::Completion,
            "top_k",
            "-7",
            "is -7, it must be between -1 and 4294967295",
        ),
    ] {
        let body = format!(r#"{{"model":"base","prompt":"x","messages":[{{}}],"{field}":{value}}}"#);
        let error = parsed(kind, &body).unwrap_err().object();
        assert_eq!(error["error"]["message"], format!("`{field}` {expect}"));
    }
    let many = r#"{"model":"base","prompt":["x","y"],"n":100}"#;
    let error = parsed(Kind::Completion, many).unwrap_err().object();
    assert_eq!(
        error["error"]["message"],
        "`n` makes 200 completions, a request may have at most 128"
    );
}

#[test]
fn a_request_that_echoes_its_prompt_may_generate_nothing() {
    let body = r#"{"model":"base","prompt":"x","max_tokens":0,"echo":true}"#;
    let request = parsed(Kind::Completion, body).unwrap().requests.remove(0);
    assert_eq!(request.tokens_max, Some(0));
}

#[test]
fn every_prompt_has_its_choices_and_every_choice_its_seed() {
    let body = r#"{"model":"base","prompt":["x","y"],"n":2,"seed":7}"#;
    let parsed = parsed(Kind::Completion, body).unwrap();
    let seeds: Vec<_> = parsed.requests.iter().map(|request| request.sampling.seed).collect();
    assert_eq!(seeds, [7, 8, 7, 8]);
    assert_eq!(parsed.requests[2].prompt, Prompt::Text("y".to_owned()));
}

#[test]
fn the_defaults_of_the_model_apply_where_the_request_has_none() {
    let defaults = Generation {
        temperature: Some(0.7),
        top_p: Some(0.9),
        ..Generation::default()
    };
    let names = Names {
        base: "base".to_owned(),
    };
    let body = br#"{"model":"base","prompt":"x","top_p":0.5}"#;
    let request = read(Kind::Completion, body, &names, &defaults)
        .unwrap()
        .requests
        .remove(0);
    assert_eq!((request.sampling.temperature, request.sampling.top_p), (0.7, 0.5));
}
