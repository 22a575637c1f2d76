//! Permissions of licences, alone and in expressions.

use super::*;

fn licence(text: &str) -> Licence {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn open_licences_allow_everything() {
    for text in [
        "CC0-1.0",
        "CC-BY-4.0",
        "CC-BY-SA-4.0",
        "MIT OR Apache-2.0",
        "GPL-2.0-or-later WITH Classpath-exception-2.0",
        "ODbL-1.0",
        "CDLA-Permissive-2.0",
        "PDDL-1.0 AND ODC-By-1.0",
    ] {
        for wanted in USES {
            assert_eq!(licence(text).permits(wanted), Ok(()), "{text} {wanted}");
        }
    }
}

#[test]
fn a_refusal_names_the_licence_the_use_and_the_reason() {
    let refused = |text: &str, wanted| licence(text).permits(wanted).expect_err(text).to_string();
    assert_eq!(
        refused("CC-BY-NC-4.0", Use::Commercial),
        "`CC-BY-NC-4.0` does not allow to use it commercially: NC keeps commercial use to the licensor"
    );
    assert!(refused("CC-BY-ND-4.0", Use::Train).contains("`CC-BY-ND-4.0` does not allow to train on it"));
    assert!(refused("JSON AND BUSL-1.1", Use::Train).contains("custom terms"));
    assert_eq!(licence("CC-BY-NC-4.0").permits(Use::Train), Ok(()));
}

#[test]
fn or_allows_what_either_allows_and_and_what_both_allow() {
    assert_eq!(licence("CC-BY-NC-4.0 OR CC-BY-4.0").permits(Use::Commercial), Ok(()));
    assert!(licence("CC-BY-NC-4.0 AND CC-BY-4.0").permits(Use::Commercial).is_err());
}

#[test]
fn an_unknown_licence_is_refused_with_a_suggestion() {
    for (text, suggestion) in [
        ("Apache2", "Apache-2.0"),
        ("CC-BY-4", "CC-BY-4.0"),
        ("MITT", "MIT"),
        ("cc-by-sa-4.0", "CC-BY-SA-4.0"),
        ("MIT OR CC-0-1.0", "CC0-1.0"),
    ] {
        let error = text.parse::<Licence>().expect_err(text).to_string();
        assert!(error.contains(&format!("did you mean `{suggestion}`?")), "{error}");
    }
    let error = "ask me nicely".parse::<Licence>().expect_err("prose").to_string();
    assert!(error.contains("SPDX"), "{error}");
    assert!("".parse::<Licence>().is_err());
    assert!("MIT OR".parse::<Licence>().is_err());
    assert!("MIT ".repeat(200).parse::<Licence>().is_err());
}

#[test]
fn custom_terms_allow_what_they_name() {
    let text = format!("custom:acme-2026:{}:train+commercial", BlobHash([7; 32]));
    let terms = licence(&text);
    assert_eq!(terms.to_string(), text);
    assert_eq!(terms.permits(Use::Commercial), Ok(()));
    assert!(terms.permits(Use::Redistribute).is_err());
    for bad in [
        "custom:a",
        "custom:a:0x12:train",
        &format!("{text}+sell"),
        "LicenseRef-mine",
    ] {
        assert!(
            bad.parse::<Licence>()
                .expect_err(bad)
                .to_string()
                .contains("custom:NAME:0xHASH")
        );
    }
}
