//! Opening sealed shards and keys, and above all what must not open.

use super::*;
use crate::{DatanetId, crypto::SecretKey};

const KEY: EpochKey = EpochKey([7; 32]);
const HERE: Header = Header {
    datanet: DatanetId([1; 32]),
    epoch: KeyEpoch(3),
    prefix: [9; 19],
};

fn text(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(b"text").finalize_xof().fill(&mut bytes);
    bytes
}

const SIZES: [usize; 9] = [0, 1, 15, 16, FRAME - 1, FRAME, FRAME + 1, 2 * FRAME, 3 * FRAME + 77];

#[test]
fn every_size_opens_unchanged_and_has_the_computed_length() {
    for size in SIZES {
        let plain = text(size);
        let sealed = Sealer::seal(&KEY, &HERE, &plain);
        assert_eq!(sealed.len() as u64, sealed_len(size as u64), "size {size}");
        assert_eq!(plain_len(sealed.len() as u64), Some(size as u64));
        assert_eq!(open(&KEY, &sealed), Ok(plain), "size {size}");
    }
    assert_eq!(plain_len(HEADER as u64 + 15), None, "shorter than a tag");
    assert_eq!(
        plain_len(HEADER as u64 + SEALED_FRAME as u64 + 16),
        None,
        "an empty last frame"
    );
}

#[test]
fn pieces_of_any_size_make_the_same_shard() {
    let plain = text(2 * FRAME + 5);
    let whole = Sealer::seal(&KEY, &HERE, &plain);
    for piece in [1000, FRAME - 1, FRAME, FRAME + 1, SEALED_FRAME] {
        let mut out = Vec::new();
        let mut sealer = Sealer::new(&KEY, &HERE, &mut out);
        plain.chunks(piece).for_each(|bytes| sealer.push(bytes, &mut out));
        sealer.finish(&mut out);
        assert_eq!(out, whole, "pieces of {piece}");
        let (mut opener, mut back) = (Opener::new(&KEY, &HERE), Vec::new());
        for bytes in whole[HEADER..].chunks(piece) {
            opener.push(bytes, &mut back).unwrap();
        }
        opener.finish(&mut back).unwrap();
        assert_eq!(back, plain, "pieces of {piece}");
    }
}

#[test]
fn one_frame_opens_without_the_others() {
    let plain = text(2 * FRAME + 5);
    let sealed = Sealer::seal(&KEY, &HERE, &plain);
    let opener = Opener::new(&KEY, &HERE);
    for frame in 0..3 {
        let (range, last) = frame_at(sealed.len() as u64, frame).unwrap();
        let range = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
        let mut out = Vec::new();
        opener.open(frame, last, &sealed[range.clone()], &mut out).unwrap();
        let start = frame as usize * FRAME;
        assert_eq!(out, plain[start..plain.len().min(start + FRAME)]);
        assert!(opener.open(frame, !last, &sealed[range.clone()], &mut out).is_err());
        assert!(opener.open(frame + 1, last, &sealed[range], &mut out).is_err());
    }
    assert_eq!(frame_at(sealed.len() as u64, 3), None);
}

#[test]
fn every_mutated_byte_is_rejected() {
    for size in [0, 1, 300] {
        let sealed = Sealer::seal(&KEY, &HERE, &text(size));
        for at in 0..sealed.len() {
            for bit in 0..8 {
                let mut bad = sealed.clone();
                bad[at] ^= 1 << bit;
                assert!(
                    open(&KEY, &bad).is_err(),
                    "size {size}: bit {bit} of byte {at} may change"
                );
            }
        }
    }
    // Across frames, one bit of every 97th byte.
    let sealed = Sealer::seal(&KEY, &HERE, &text(FRAME + 100));
    for at in (0..sealed.len()).step_by(97 * 8) {
        let mut bad = sealed.clone();
        bad[at] ^= 1;
        assert!(open(&KEY, &bad).is_err(), "byte {at} may change");
    }
}

#[test]
fn frames_cannot_be_cut_off_swapped_repeated_or_continued() {
    let sealed = Sealer::seal(&KEY, &HERE, &text(3 * FRAME));
    let (header, body) = sealed.split_at(HEADER);
    let frames: Vec<&[u8]> = body.chunks(SEALED_FRAME).collect();
    let build = |order: &[usize]| {
        let body: Vec<&[u8]> = order.iter().map(|at| frames[*at]).collect();
        [header, &body.concat()].concat()
    };
    assert!(open(&KEY, &build(&[0, 1, 2])).is_ok());
    for order in [
        &[][..],
        &[0],
        &[0, 1],
        &[1, 0, 2],
        &[0, 2, 1],
        &[0, 0, 1, 2],
        &[0, 1, 2, 2],
        &[2],
        &[0, 2],
    ] {
        assert!(open(&KEY, &build(order)).is_err(), "{order:?}");
    }
    for cut in [1, 15, 16, 17, SEALED_FRAME - 1, SEALED_FRAME + 1] {
        assert!(
            open(&KEY, &sealed[..sealed.len() - cut]).is_err(),
            "without the last {cut} bytes"
        );
    }
    for more in [1, 16, 17] {
        assert!(
            open(&KEY, &[&sealed[..], &vec![0; more]].concat()).is_err(),
            "with {more} more bytes"
        );
    }
    assert!(matches!(
        open(&KEY, &sealed[..20]),
        Err(OpenShardError::Header(HeaderError::Short(20)))
    ));
}

#[test]
fn a_shard_opens_with_its_own_key_datanet_and_epoch_only() {
    let sealed = Sealer::seal(&KEY, &HERE, b"ours");
    assert!(open(&EpochKey([8; 32]), &sealed).is_err());
    for other in [
        Header {
            datanet: DatanetId([2; 32]),
            ..HERE
        },
        Header {
            epoch: KeyEpoch(4),
            ..HERE
        },
        Header {
            prefix: [8; 19],
            ..HERE
        },
    ] {
        let moved = [&other.to_bytes()[..], &sealed[HEADER..]].concat();
        assert!(open(&KEY, &moved).is_err(), "{other:?}");
        assert_eq!(Header::read(&moved), Ok(other));
    }
}

#[test]
fn only_the_intended_member_unwraps_a_key() {
    let member = MemberSecret::of_node(&SecretKey::from_seed([1; 32]));
    let other = MemberSecret::of_node(&SecretKey::from_seed([2; 32]));
    let wrapped = WrappedKey::new(&KEY, HERE.datanet, HERE.epoch, &member.public(), [5; 32]).unwrap();
    assert_eq!(wrapped.open(&member), Ok(KEY));
    assert!(matches!(wrapped.open(&other), Err(UnwrapError::NotForMember { .. })));

    let good = crate::codec::encode(&wrapped);
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        let bad: WrappedKey = crate::codec::decode(&bad, 256).unwrap();
        assert!(bad.open(&member).is_err(), "byte {at} may change");
    }
}

#[test]
fn a_key_of_low_order_is_refused_on_both_sides() {
    let member = MemberSecret::of_node(&SecretKey::from_seed([1; 32]));
    let weak = WrappedKey::new(&KEY, HERE.datanet, HERE.epoch, &MemberKey([0; 32]), [5; 32]);
    assert_eq!(weak, Err(UnwrapError::WeakKey));
    let mut wrapped = WrappedKey::new(&KEY, HERE.datanet, HERE.epoch, &member.public(), [5; 32]).unwrap();
    wrapped.ephemeral = [0; 32];
    assert_eq!(wrapped.open(&member), Err(UnwrapError::WeakKey));
}

#[test]
fn a_member_key_is_not_the_node_key() {
    let node = SecretKey::from_seed([1; 32]);
    assert_ne!(MemberSecret::of_node(&node).public().0, node.public());
    let raw = x25519_dalek::PublicKey::from(&x25519_dalek::StaticSecret::from(*node.seed()));
    assert_ne!(MemberSecret::of_node(&node).public().0, raw.to_bytes());
}

#[test]
fn each_epoch_and_datanet_has_a_key_of_its_own() {
    let secret = DatanetSecret::new([3; 32]);
    let key = secret.epoch_key(&DatanetId([1; 32]), KeyEpoch(0));
    assert!(key != secret.epoch_key(&DatanetId([1; 32]), KeyEpoch(1)));
    assert!(key != secret.epoch_key(&DatanetId([2; 32]), KeyEpoch(0)));
    assert_eq!(format!("{secret:?} {key:?}"), "DatanetSecret(…) EpochKey(…)");
}

#[test]
fn the_format_is_fixed_bytes() {
    // Golden, and made by another implementation: sealed shards open in every later version.
    let shown = |bytes: &[u8]| hex::encode(bytes);
    let digest = |bytes: &[u8]| hex::encode(&blake3::hash(bytes).as_bytes()[..16]);
    assert_eq!(
        shown(&Sealer::seal(&KEY, &HERE, b"openledger")),
        "4f4c5301010101010101010101010101010101010101010101010101010101010101010100000003090909090909090909090909090909090909099838e1c9b6f3f90aa7b8740016b1ed080759344198c3bd23be5e"
    );
    assert_eq!(
        digest(&Sealer::seal(&KEY, &HERE, &text(2 * FRAME + 5))),
        "37b4bcd4114818db0e225077f588f04e"
    );
    let secret = DatanetSecret::new([3; 32]);
    assert_eq!(
        digest(&secret.epoch_key(&DatanetId([1; 32]), KeyEpoch(2)).0),
        "c85b5c3ad29c3ef155ec9359be578141"
    );
    let member = MemberSecret::of_node(&SecretKey::from_seed([1; 32]));
    assert_eq!(
        shown(&member.public().0),
        "582b36aca849ad4ec66028544baee1bc261410e9042fe5923f75b9be73152736"
    );
    let wrapped = WrappedKey::new(&KEY, HERE.datanet, HERE.epoch, &member.public(), [5; 32]).unwrap();
    assert_eq!(
        shown(&[&wrapped.ephemeral[..], &wrapped.sealed, &wrapped.tag].concat()),
        "50a61409b1ddd0325e9b16b700e719e9772c07000b1bd7786e907c653d20495ddc068d5a01606128e7dbf3995e0d95fce6198e5b8d2c193eb6469177790d830055453c52bbdc2cc58f02466f187543ef"
    );
}
