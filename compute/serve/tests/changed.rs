//! Files that change on disk while they are served: a stored model stays as it was, an unread adapter is refused.

#![allow(
    clippy::unwrap_used,
    clippy::float_arithmetic,
    reason = "a test computes, and stops where it cannot"
)]

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
};

use compute::{
    decoder::{Cpu, CpuOptions, Decoder},
    forward::{AdapterSlot, Forward, Mix, PageId, Span, Wanted},
    lora::Adapter,
    model::Store,
};
use serve::tier::{Budget, Tiers};

/// A copy of a fixture in a directory of the test.
fn copied(to: &Path) -> PathBuf {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/llama-1");
    let place = to.join("model");
    for dir in ["", "adapter0", "adapter1"] {
        fs::create_dir_all(place.join(dir)).unwrap();
        for entry in fs::read_dir(from.join(dir)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                fs::copy(&path, place.join(dir).join(path.file_name().unwrap())).unwrap();
            }
        }
    }
    place
}

/// Ways to damage a file in place.
fn spoil(path: &Path, way: usize) {
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    match way {
        0 => file.set_len(0).unwrap(),
        1 => file.set_len(10).unwrap(),
        _ => {
            let length = usize::try_from(file.metadata().unwrap().len()).unwrap();
            fs::write(path, vec![0xff; length]).unwrap();
        }
    }
}

fn logits(decoder: &mut Decoder<Cpu>, adapted: bool) -> Vec<u32> {
    let mix = [Mix {
        slot: AdapterSlot(0),
        weight: 1.0,
    }];
    let span = Span {
        tokens: &[5, 6, 7, 8],
        start: 0,
        pages: &[PageId(0)],
        adapters: if adapted { &mix } else { &[] },
        wanted: Wanted::All,
        verified: true,
    };
    let mut logits = Vec::new();
    decoder.step(&[span], &mut logits).unwrap();
    logits.into_iter().map(f32::to_bits).collect()
}

#[test]
fn a_served_model_is_unaffected_when_its_original_is_truncated_or_overwritten() {
    for way in 0..3 {
        let home = tempfile::tempdir().unwrap();
        let original = copied(home.path());
        let store = Store::open(&home.path().join("models")).unwrap();
        let stored = store.add(&original).unwrap();
        let (model, _) = store.model(&stored).unwrap();
        let mut decoder = model.on_cpu(CpuOptions::default()).unwrap();
        let adapter = Adapter::load(&original.join("adapter0")).unwrap();
        decoder.load(AdapterSlot(0), &Arc::new(adapter)).unwrap();
        let before = [false, true].map(|adapted| logits(&mut decoder, adapted));
        spoil(&original.join("model.safetensors"), way);
        spoil(&original.join("adapter0/adapter_model.safetensors"), way);
        assert_eq!([false, true].map(|adapted| logits(&mut decoder, adapted)), before);
        // Built again, as after a crash: from the store, not from the original.
        let mut again = store.model(&stored).unwrap().0.on_cpu(CpuOptions::default()).unwrap();
        assert_eq!(logits(&mut again, false), before[0]);
        assert!(store.add(&original).is_err(), "a changed file is refused");
    }
}

#[test]
fn an_adapter_that_changed_before_it_was_read_is_refused_and_others_are_served() {
    for way in 0..3 {
        let home = tempfile::tempdir().unwrap();
        let original = copied(home.path());
        let tiers = Tiers::new(Budget::default(), None);
        let scan = tiers.register_all(&original).unwrap();
        assert_eq!(scan.registered, 2);
        let fetch = |name: &str| {
            let (reply, said) = mpsc::channel();
            let artifact = tiers.resolve(name).unwrap();
            match tiers.fetch(&artifact, Box::new(move |result| drop(reply.send(result)))) {
                Some(adapter) => Ok(adapter),
                None => said.recv().unwrap(),
            }
        };
        let kept = fetch("adapter0").unwrap();
        for name in ["adapter0", "adapter1"] {
            spoil(&original.join(name).join("adapter_model.safetensors"), way);
        }
        assert_eq!(fetch("adapter0").unwrap(), kept, "it was in memory");
        let why = fetch("adapter1").unwrap_err();
        assert!(why.contains("adapter1"), "{why}");
    }
}
