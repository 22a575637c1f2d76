//! The targets of the data plane: what peers say about datasets, datanets and pins, and what lies in files of strangers.

use std::{ops::ControlFlow, path::PathBuf, sync::Arc};

use protocol::{
    BlobHash, DatanetId, NodeId, Time, codec,
    crypto::{Domain, SecretKey, Signed},
    datanet::{Access, Charter, Contribution},
    duplicate::{Index, Sketch},
    licence::Licence,
    manifest::{MANIFEST_MAX, Manifest, read_sources},
    message::{
        announce::{Announcement, Claim, Dataset, Term},
        datanet::{DATANET_REPLY_MAX, DATANET_REQUEST_MAX, DatanetReply, DatanetRequest},
        pin::{PIN_REPLY_MAX, PIN_REQUEST_MAX, PinReply, PinRequest},
    },
    proof::{Proof, Shard},
    seal::{self, EpochKey, Header, KeyEpoch, Sealer},
};
use storage::dataset::{self, About, Folder, Options};

const HERE: Domain = Domain {
    chain_id: 1337,
    genesis: [7; 32],
};
const KEY: EpochKey = EpochKey([9; 32]);

fn key() -> SecretKey {
    SecretKey::from_seed([3; 32])
}

/// An announcement has one encoding, and judging it never panics.
pub(super) fn announcement(bytes: &[u8]) {
    if let Ok(said) = Announcement::decode(bytes) {
        assert_eq!(said.encode(), bytes, "two encodings of one announcement");
        drop((said.author(), said.subject(), said.check(Time(1), &HERE)));
    }
}

pub(super) fn announcements() -> Vec<Vec<u8>> {
    let provider = NodeId(key().public());
    let term = Term::starting(Time(0), 1000);
    let claim = Claim {
        datanet: None,
        root: BlobHash([1; 32]),
        provider,
        term,
    };
    let dataset = Dataset {
        datanet: Some(DatanetId([2; 32])),
        root: BlobHash([1; 32]),
        bytes: 10,
        shards: 2,
        provider,
        term,
    };
    let said = [
        Announcement::Claim(Signed::new(claim, &key(), &HERE)),
        Announcement::Dataset(Signed::new(dataset, &key(), &HERE)),
    ];
    said.iter().map(Announcement::encode).collect()
}

pub(super) fn datanet_talk(bytes: &[u8]) {
    super::bodies::canonical::<DatanetRequest>(bytes, DATANET_REQUEST_MAX);
    super::bodies::canonical::<DatanetReply>(bytes, DATANET_REPLY_MAX);
    if let Ok(DatanetReply::Charter(charter)) = codec::decode(bytes, DATANET_REPLY_MAX) {
        drop((
            charter.message.check(),
            charter.message.id(),
            charter.is_authentic(&HERE),
        ));
    }
    if let Ok(DatanetRequest::Deliver(said)) = codec::decode(bytes, DATANET_REQUEST_MAX) {
        drop((said.message.check(), said.message.id(), said.is_authentic(&HERE)));
    }
}

pub(super) fn datanet_samples() -> Vec<Vec<u8>> {
    let charter = Charter {
        name: "weather".into(),
        owner: NodeId(key().public()),
        account: protocol::Account([1; 20]),
        curators: vec![NodeId([4; 32])],
        licence: "CC-BY-4.0".parse().expect("a licence"),
        schema: None,
        access: Access::Permissioned,
        contribution: Contribution::Curated,
        founded: Time(5),
    };
    let id = charter.id();
    vec![
        codec::encode(&DatanetReply::Charter(Box::new(Signed::new(charter, &key(), &HERE)))),
        codec::encode(&DatanetRequest::Names {
            datanet: id,
            after: None,
        }),
        codec::encode(&DatanetRequest::Keys {
            datanet: id,
            from: KeyEpoch(1),
        }),
        codec::encode(&DatanetReply::Refused { why: "no".into() }),
    ]
}

pub(super) fn pin_talk(bytes: &[u8]) {
    super::bodies::canonical::<PinRequest>(bytes, PIN_REQUEST_MAX);
    super::bodies::canonical::<PinReply>(bytes, PIN_REPLY_MAX);
    if let Ok(PinRequest::Offer { deal, .. }) = codec::decode(bytes, PIN_REQUEST_MAX) {
        let deal = deal.message;
        if deal.check().is_ok() {
            drop((deal.id(), deal.bytes(), deal.registration(0)));
        }
    }
    if let Ok(PinReply::Chunk(proof)) = codec::decode::<PinReply>(bytes, PIN_REPLY_MAX) {
        check_proof(&proof, bytes);
    }
}

/// A proof of other bytes than it was made for is refused, whatever it claims.
fn check_proof(proof: &Proof, bytes: &[u8]) {
    let size = bytes.len() as u64 * 1021;
    let shard = Shard {
        root: BlobHash([0x11; 32]),
        size,
    };
    assert!(
        proof.verify(&shard, size / 2048).is_err(),
        "bytes of this hash are unknown"
    );
}

pub(super) fn pin_samples() -> Vec<Vec<u8>> {
    let proof = Proof::of_bytes(&[7; 5000], 2).expect("there is such a chunk");
    vec![
        codec::encode(&PinReply::Chunk(proof)),
        codec::encode(&PinRequest::Chunk {
            root: BlobHash([1; 32]),
            size: 5000,
            chunk: 2,
        }),
        codec::encode(&PinReply::Accepted),
    ]
}

/// Only sealed bytes can be opened; any other bytes are refused.
pub(super) fn sealed(bytes: &[u8]) {
    let original = sealed_samples();
    match seal::open(&KEY, bytes) {
        Ok(_) => assert!(
            original.iter().any(|sealed| sealed == bytes),
            "something else was opened"
        ),
        Err(_) => drop(Header::read(bytes)),
    }
    if let Some(plain) = seal::plain_len(bytes.len() as u64) {
        assert_eq!(seal::sealed_len(plain), bytes.len() as u64);
    }
    let frame = u32::from(bytes.first().copied().unwrap_or(0));
    if let Some((range, _)) = seal::frame_at(bytes.len() as u64, frame) {
        assert!(range.end <= bytes.len() as u64, "a frame beyond its shard");
    }
}

pub(super) fn sealed_samples() -> Vec<Vec<u8>> {
    let header = Header {
        datanet: DatanetId([2; 32]),
        epoch: KeyEpoch(1),
        prefix: [5; 19],
    };
    [0, 100, 3000]
        .map(|len| Sealer::seal(&KEY, &header, &vec![1; len]))
        .to_vec()
}

/// A manifest has one encoding, and what it says of itself adds up.
pub(super) fn manifest(bytes: &[u8]) {
    if let Ok(found) = Manifest::decode(bytes) {
        assert!(bytes.len() <= MANIFEST_MAX && found.check().is_ok());
        assert_eq!(found.encode(), bytes, "two encodings of one manifest");
        assert_eq!(found.sequence().len(), 32 * (1 + found.shards.len()));
    }
    drop((read_sources(bytes), Index::decode(bytes)));
    if let Ok(text) = std::str::from_utf8(bytes) {
        drop((text.parse::<Licence>(), Sketch::of_text(text)));
    }
}

pub(super) fn manifest_samples() -> Vec<Vec<u8>> {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("a.jsonl");
    std::fs::write(&file, JSONL).expect("written");
    let (made, _) = import(vec![file], dir.path()).expect("imported");
    vec![made.manifest.encode(), b"CC-BY-4.0 OR MIT".to_vec()]
}

const JSONL: &str = "{\"q\":\"where is the mill\",\"n\":1}\n{\"q\":\"who bakes\",\"n\":2}\n";

fn import(
    paths: Vec<PathBuf>,
    dir: &std::path::Path,
) -> Result<(dataset::Ingested, Arc<Folder>), dataset::IngestError> {
    let mut folder = Folder::open(&dir.join("blobs")).expect("a folder");
    let about = About {
        name: "fuzz".into(),
        datanet: None,
        licence: "MIT".parse().expect("a licence"),
        contributors: Vec::new(),
        previous: None,
        created_ms: 0,
    };
    let options = Options {
        record_bytes_max: 1 << 16,
        shard_bytes: 1024,
        ..Options::default()
    };
    let made = dataset::ingest(
        &paths,
        &about,
        &options,
        &mut folder,
        &mut |_| ControlFlow::Continue(()),
    )?;
    Ok((made, Arc::new(folder)))
}

/// Whatever lies in a file is refused or comes back byte for byte. The first byte chooses the format.
pub(super) fn import_file(bytes: &[u8]) {
    let Some((format, content)) = bytes.split_first() else {
        return;
    };
    let name = ["a.jsonl", "a.csv", "a.parquet", "a.txt", "a.md"][usize::from(*format) % 5];
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join(name);
    std::fs::write(&file, content).expect("written");
    let Ok((made, folder)) = import(vec![file], dir.path()) else {
        return;
    };
    let found = dataset::Dataset::open(made.manifest, folder).expect("an imported dataset can be opened");
    found.verify(&mut |_| ControlFlow::Continue(())).expect("and is whole");
    let out = dir.path().join("out");
    found.restore(&out, &mut |_| ()).expect("and comes back");
    assert_eq!(
        std::fs::read(out.join(name)).expect("written"),
        content,
        "other bytes came back"
    );
}

pub(super) fn import_samples() -> Vec<Vec<u8>> {
    let file = |format: u8, text: &str| [&[format], text.as_bytes()].concat();
    vec![
        file(0, JSONL),
        file(1, "q,n\nwhere,1\n\"who, then\",2\n"),
        file(3, "One line.\n\nAnother paragraph.\n"),
        file(4, "# Head\n\nText.\n"),
    ]
}
