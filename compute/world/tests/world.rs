//! What a world promises: names of its own, facts that agree, and the same bytes for ever.

use std::collections::{BTreeMap, BTreeSet};

use world::{Datanets, Format, REALM_CLASSES, Realm, Relation, Size, World, write_corpus};

fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum: u64, &byte| {
        (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[test]
fn the_same_seed_writes_the_same_bytes_as_ever() {
    let all: String = Datanets::new(7)
        .files()
        .into_iter()
        .map(|file| file.path + &file.text)
        .collect();
    assert_eq!(fnv(all.as_bytes()), DATANETS_OF_7, "the datanets of a seed changed");
    let mut corpus = Vec::new();
    write_corpus(1, 300_000, Format::Text, &mut corpus).unwrap();
    assert_eq!(fnv(&corpus), CORPUS_OF_1, "the corpus of a seed changed");
}
const DATANETS_OF_7: u64 = 783894400893414318;
const CORPUS_OF_1: u64 = 16242553180217484456;

/// The names that belong to a world alone.
fn names(world: &World) -> BTreeSet<String> {
    let people = world.people.iter().chain(&world.places).cloned();
    let things = world
        .facts
        .iter()
        .filter(|fact| matches!(fact.relation, Relation::Captain | Relation::Author));
    people.chain(things.map(|fact| fact.subject.clone())).collect()
}

#[test]
fn a_full_world_has_names_enough_in_every_class() {
    for seed in 0..2 * REALM_CLASSES {
        for realm in [Realm::Datanet, Realm::Home, Realm::Passing] {
            assert_eq!(World::of(realm, seed, Size::FULL).people.len(), Size::FULL.people);
        }
    }
}

#[test]
fn worlds_of_other_seeds_share_no_name() {
    let worlds: Vec<World> = (0..REALM_CLASSES).map(World::new).collect();
    let mut seen: BTreeMap<String, u64> = BTreeMap::new();
    for world in &worlds {
        for name in names(world) {
            if let Some(other) = seen.insert(name.clone(), world.seed) {
                panic!("{name} is in the worlds of seeds {other} and {}", world.seed);
            }
        }
    }
}

#[test]
fn worlds_whose_seeds_share_a_class_share_few_facts() {
    let facts = |seed| -> BTreeSet<(Relation, String, String)> {
        let facts = World::new(seed).facts.into_iter();
        facts.map(|fact| (fact.relation, fact.subject, fact.value)).collect()
    };
    let (one, other) = (facts(7), facts(7 + REALM_CLASSES));
    let common = one.intersection(&other).count();
    assert!(common * 100 <= one.len(), "{common} of {}", one.len());
}

#[test]
fn a_subject_has_one_value_in_a_relation() {
    for seed in 0..REALM_CLASSES {
        let mut seen = BTreeSet::new();
        for fact in World::new(seed).facts {
            let key = (fact.relation, fact.subject.clone(), fact.measure);
            assert!(seen.insert(key), "seed {seed}: two values for {fact:?}");
        }
    }
}

#[test]
fn teachers_are_older_and_of_the_same_trade() {
    let world = World::new(7);
    let of = |relation, who: &str| {
        let mut facts = world.of_relation(relation);
        facts.find(|fact| fact.subject == who).unwrap().value.clone()
    };
    let mut checked = 0;
    for taught in world.of_relation(Relation::Teacher) {
        assert_eq!(of(Relation::Trade, &taught.subject), of(Relation::Trade, &taught.value));
        assert!(of(Relation::Born, &taught.subject) > of(Relation::Born, &taught.value));
        checked += 1;
    }
    assert!(checked > 20);
}
