//! What a request costs apart from the network and the disk: `just bench`.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use ifmatch::json;
use ifmatch::model::{
    Change, EntityTag, Expected, Key, Operation, Position, Record, Stamp, StateDigest, Timestamp,
    Value,
};
use ifmatch::patch::Patch;
use ifmatch::precondition::{ListedTag, Preconditions, Purpose, Tags, decide};
use ifmatch::storage::internals::{Staged, Table, format, log};

/// How many entries a data file of the benchmark has.
const ENTRIES: usize = 1000;
/// How many commits share a frame of the benchmark.
const COMMITS: usize = 64;

fn key(number: usize) -> Key {
    format!("doc/{number:07}").parse().expect("a key")
}

/// A string of 150 bytes, quotes included.
fn text() -> Vec<u8> {
    format!("\"{}\"", "x".repeat(148)).into_bytes()
}

/// An object of about 10 KB, as compact as `separator` lets it be.
fn object(separator: &str) -> Vec<u8> {
    let members =
        (0..200).map(|n| format!("\"member-{n}\":{separator}{{\"n\":{n},\"s\":\"text\"}}"));
    let members: Vec<_> = members.collect();
    format!("{{{}}}", members.join(",")).into_bytes()
}

fn moment() -> Timestamp {
    Timestamp::from_millis(1_763_805_600_120)
}

fn stamp() -> Stamp {
    Stamp {
        version: 3,
        revision: 42,
        modified_at: moment(),
        modified_by: None,
    }
}

fn value(text: &[u8]) -> Value {
    Value::from_json(text).expect("a value")
}

fn table() -> Table {
    let mut table = Table::default();
    for number in 0..ENTRIES {
        let mut staged = Staged::on(&table);
        stage(&table, &mut staged, number);
        staged.apply_to(&mut table);
    }
    table
}

fn stage(table: &Table, staged: &mut Staged, number: usize) {
    let change = Change {
        key: key(number),
        expected: Expected::Any,
        operation: Operation::Put(value(&text())),
    };
    staged
        .stage(table, change.into(), moment())
        .expect("it is expected");
}

fn parse(c: &mut Criterion) {
    for (name, text) in [
        ("150 B string", text()),
        ("10 KB object, compact", object("")),
        ("10 KB object, spaced", object(" ")),
    ] {
        let mut group = c.benchmark_group("parse");
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(format!("value, {name}"), |b| {
            b.iter(|| Value::from_json(black_box(&text)));
        });
        group.bench_function(format!("tree, {name}"), |b| {
            b.iter(|| json::parse(black_box(&text)));
        });
    }
}

/// Patches of up to 1 MiB on values of about 1 MiB, the most that is taken by default. The first
/// figure is what reading such a value as a tree takes, to compare with.
fn patch(c: &mut Criterion) {
    const LIMIT: usize = 1 << 20;
    let numbers = format!("[{}]", vec!["0"; 500_000].join(","));
    let record = r#"{"id":1,"name":"somebody","tags":["a","b"],"at":{"x":1.5}}"#;
    let records = format!("[{}]", vec![record; 17_000].join(","));
    let members: Vec<_> = (0..60_000).map(|n| format!("\"m{n}\":{n}.0")).collect();
    let members = format!("{{{}}}", members.join(","));
    let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
    let mixed = format!(r#"{{"l":{numbers},"d":{0},"n":{0}}}"#, nested(100));
    let long = format!("[1{}]", "0".repeat(1_000_000));
    let list = |times: usize, operation: &dyn Fn(usize) -> String| {
        let operations: Vec<_> = (0..times).map(operation).collect();
        format!("[{}]", operations.join(","))
    };
    let shift = |_| r#"{"op":"move","from":"/0","path":"/-"}"#.to_owned();
    let scatter = |n| {
        format!(
            r#"{{"op":"move","from":"/0","path":"/{}"}}"#,
            n * 7919 % 400_000
        )
    };
    let front = |_| r#"{"op":"add","path":"/0","value":1}"#.to_owned();
    let replace = |n| {
        let place = n * 7919 % 17_000;
        format!(r#"{{"op":"replace","path":"/{place}/name","value":"a"}}"#)
    };
    let remove = |n| format!(r#"{{"op":"remove","path":"/m{n}"}}"#);
    let test = |_| r#"{"op":"test","path":"/0","value":1e1000000}"#.to_owned();
    let measure = |_| {
        let down = format!("/n{}/", "/0".repeat(99));
        format!(
            r#"{{"op":"move","from":"/d","path":"/l/-"}},{{"op":"move","from":"/l/500000","path":"/d"}},
            {{"op":"move","from":"/l","path":"{down}-"}},{{"op":"move","from":"{down}0","path":"/l"}}"#
        )
    };
    let nulls: Vec<_> = (0..60_000).map(|n| format!("\"m{n}\":null")).collect();
    let nulls = format!("{{{}}}", nulls.join(","));
    let mut group = c.benchmark_group("patch");
    group.sample_size(10);
    for (name, value) in [
        ("numbers", &numbers),
        ("records", &records),
        ("members", &members),
    ] {
        group.bench_function(format!("nothing: the tree of 1 MiB of {name}"), |b| {
            b.iter(|| json::parse(black_box(value.as_bytes())));
        });
    }
    for (name, value, operations) in [
        (
            "27,000 moves to the end of 500,000",
            &numbers,
            list(27_000, &shift),
        ),
        (
            "23,000 moves into 500,000",
            &numbers,
            list(23_000, &scatter),
        ),
        ("27,000 adds in front", &numbers, list(27_000, &front)),
        (
            "20,000 replacements in 17,000 records",
            &records,
            list(20_000, &replace),
        ),
        (
            "26,000 removals from 60,000 members",
            &members,
            list(26_000, &remove),
        ),
        (
            "too much: tests of a long number",
            &long,
            list(20_000, &test),
        ),
        (
            "too much: a height found out again",
            &mixed,
            list(1_500, &measure),
        ),
        ("merge: 60,000 removals of members", &members, nulls),
    ] {
        assert!(operations.len() <= LIMIT, "{name}");
        let read = if name.starts_with("merge") {
            Patch::merge
        } else {
            Patch::operations
        };
        group.bench_function(name, |b| {
            b.iter(|| {
                let patch = read(black_box(operations.as_bytes())).expect("a patch");
                patch.apply(value, LIMIT, || false)
            });
        });
    }
}

fn tag(c: &mut Criterion) {
    let (key, value) = (key(1), value(&text()));
    c.bench_function("tag/record with its digest, 150 B", |b| {
        b.iter_batched(
            || value.clone(),
            |value| Record::new(black_box(&key), value, stamp()),
            BatchSize::SmallInput,
        );
    });
    let record = Record::new(&key, value, stamp());
    c.bench_function("tag/text of an entry's", |b| {
        b.iter(|| black_box(&record).etag());
    });
    let position = Position {
        revision: 42,
        state: StateDigest::from_bits(0x0123_4567_89ab_cdef),
    };
    c.bench_function("tag/text of a list's", |b| {
        b.iter(|| EntityTag::of_list(black_box(position)));
    });
}

fn decide_on(c: &mut Criterion) {
    let record = Record::new(&key(1), value(&text()), stamp());
    let listed = |opaque: &str| ListedTag {
        weak: false,
        opaque: opaque.to_owned(),
    };
    for (name, others) in [("1 tag", 0), ("20 tags", 19)] {
        let mut tags: Vec<_> = (0..others).map(|n| listed(&format!("{n}-0"))).collect();
        tags.push(listed(record.etag().opaque()));
        let conditions = Preconditions {
            if_match: Some(Tags::Listed(tags)),
            ..Preconditions::default()
        };
        c.bench_function(&format!("decide/If-Match, {name}"), |b| {
            b.iter(|| decide(black_box(&conditions), Purpose::Write, Some(&record)));
        });
    }
}

fn data_file(c: &mut Criterion) {
    let table = table();
    let snapshot = table.snapshot();
    let mut text = Vec::new();
    let encode = |text: &mut Vec<u8>| {
        text.clear();
        format::encode(text, snapshot.revision(), None, snapshot.entries()).expect("memory");
    };
    encode(&mut text);
    let mut group = c.benchmark_group("format");
    group.throughput(Throughput::Elements(ENTRIES as u64));
    group.bench_function("encode 1,000 entries", |b| {
        let mut text = Vec::with_capacity(text.len());
        b.iter(|| encode(&mut text));
    });
    group.bench_function("decode 1,000 entries, strictly", |b| {
        b.iter(|| format::decode(black_box(&text[..])));
    });
    let start = text.iter().position(|byte| *byte == b'\n').expect("lines");
    let lines = &text[start..text.len() - b"\n}}\n".len()];
    let part = [b"{", lines, b"}"].concat();
    group.bench_function("decode 1,000 entries, as written", |b| {
        b.iter(|| format::decode_part(black_box(&part)));
    });
}

fn log_frames(c: &mut Criterion) {
    let mut table = table();
    let mut staged = Staged::on(&table);
    for number in 0..COMMITS {
        stage(&table, &mut staged, number);
    }
    let after = table.revision();
    let encode = |staged: &Staged| {
        let commits = staged.commits().iter().map(|commit| &**commit);
        let frame = log::group_frame(after, after, commits).expect("memory");
        frame.bytes
    };
    let frame = encode(&staged);
    let text = log::text_of_frame(&frame);
    let mut group = c.benchmark_group("log");
    group.throughput(Throughput::Elements(COMMITS as u64));
    group.bench_function("encode a frame of 64 commits", |b| {
        b.iter(|| encode(black_box(&staged)));
    });
    group.bench_function("read a frame of 64 commits without its values", |b| {
        b.iter(|| log::Group::read(black_box(text)));
    });
    group.bench_function("stage and apply 64 commits", |b| {
        b.iter(|| {
            let mut staged = Staged::on(&table);
            for number in 0..COMMITS {
                stage(&table, &mut staged, number);
            }
            staged.apply_to(&mut table);
        });
    });
}

criterion_group!(benches, parse, patch, tag, decide_on, data_file, log_frames);
criterion_main!(benches);
