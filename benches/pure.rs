//! What a request costs apart from the network and the disk: `cargo bench`.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use ifmatch::json;
use ifmatch::model::{
    Change, EntityTag, Expected, Key, Operation, Position, Record, Timestamp, Value,
};
use ifmatch::precondition::{ListedTag, Preconditions, Purpose, Tags, decide};
use ifmatch::storage::file::identity::JournalId;
use ifmatch::storage::file::{format, journal};
use ifmatch::storage::table::{Staged, Table};

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

fn value(text: &[u8]) -> Value {
    Value::from_json(text).expect("a value")
}

fn table() -> Table {
    let mut table = Table::default();
    for number in 0..ENTRIES {
        let mut staged = Staged::on(&table);
        stage(&table, &mut staged, number);
        table.apply(staged);
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

fn tag(c: &mut Criterion) {
    let (key, value) = (key(1), value(&text()));
    c.bench_function("tag/record with its digest, 150 B", |b| {
        b.iter_batched(
            || value.clone(),
            |value| Record::new(black_box(&key), value, 3, 42, moment()),
            BatchSize::SmallInput,
        );
    });
    let record = Record::new(&key, value, 3, 42, moment());
    c.bench_function("tag/text of an entry's", |b| {
        b.iter(|| black_box(&record).etag());
    });
    let position = Position {
        revision: 42,
        history: "0123456789abcdef".into(),
    };
    c.bench_function("tag/text of a list's", |b| {
        b.iter(|| EntityTag::of_list(black_box(&position)));
    });
}

fn decide_on(c: &mut Criterion) {
    let record = Record::new(&key(1), value(&text()), 3, 42, moment());
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
    let snapshot = table.snapshot(&"".into());
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

fn journal_frames(c: &mut Criterion) {
    let mut table = table();
    let mut staged = Staged::on(&table);
    for number in 0..COMMITS {
        stage(&table, &mut staged, number);
    }
    let id = JournalId::random();
    let first = journal::first_frame(table.revision(), &id);
    let frame = journal::frame(&staged).expect("memory");
    let mut group = c.benchmark_group("journal");
    group.throughput(Throughput::Elements(COMMITS as u64));
    group.bench_function("encode a frame of 64 commits", |b| {
        b.iter(|| journal::frame(black_box(&staged)));
    });
    let text = [first, frame].concat();
    group.bench_function("check and skip a frame of 64 commits", |b| {
        table.skip_to(staged.revision());
        b.iter(|| journal::replay(black_box(&text[..]), &mut table, Some(&id)));
    });
    group.bench_function("stage and apply 64 commits", |b| {
        b.iter(|| {
            let mut staged = Staged::on(&table);
            for number in 0..COMMITS {
                stage(&table, &mut staged, number);
            }
            table.apply(staged);
        });
    });
}

criterion_group!(benches, parse, tag, decide_on, data_file, journal_frames);
criterion_main!(benches);
