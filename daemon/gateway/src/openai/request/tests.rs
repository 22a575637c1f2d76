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
fn a_name_is_the_base_an_adapter_or_an_adapter_behind_the_base() {
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
fn adapters_are_mixed_over_the_base_alone() {
    let body = r#"{"model":"base","prompt":"x","adapters":[{"name":"a","weight":0.5},{"name":"base:b"}]}"#;
    let request = parsed(Kind::Completion, body).unwrap().requests.remove(0);
    assert_eq!(request.adapters, [("a".to_owned(), 0.5), ("b".to_owned(), 1.0)]);
    let over = r#"{"model":"c","prompt":"x","adapters":[{"name":"a"}]}"#;
    assert_eq!(refused(Kind::Completion, over), "adapters");
    let itself = r#"{"model":"base","prompt":"x","adapters":[{"name":"base"}]}"#;
    assert_eq!(refused(Kind::Completion, itself), "adapters");
}

#[test]
fn what_is_absurd_is_refused_by_its_name() {
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
fn every_prompt_has_its_choices_and_every_choice_its_seed() {
    let body = r#"{"model":"base","prompt":["x","y"],"n":2,"seed":7}"#;
    let parsed = parsed(Kind::Completion, body).unwrap();
    let seeds: Vec<_> = parsed.requests.iter().map(|request| request.sampling.seed).collect();
    assert_eq!(seeds, [7, 8, 7, 8]);
    assert_eq!(parsed.requests[2].prompt, Prompt::Text("y".to_owned()));
}

#[test]
fn the_makers_defaults_hold_where_the_client_says_nothing() {
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
