//! What the layers may know of one another, read from the sources.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The Rust files in a folder.
pub fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
    found
}

/// The files outside of `home` that have one of `words` in a line of code.
fn strangers(home: &str, words: &[&str]) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files = sources(&root);
    assert!(files.len() > 15, "the sources are there: {files:?}");
    let mut strangers = Vec::new();
    for file in files {
        let name = file.strip_prefix(&root).unwrap().to_str().unwrap();
        let text = fs::read_to_string(&file).unwrap();
        let code = text
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        for line in code {
            if !name.starts_with(home) && words.iter().any(|word| has_word(line, word)) {
                strangers.push(format!("{name}: {line}"));
            }
        }
    }
    strangers
}

/// Whether `line` has `word`, and not as the end of another: a `ChangedFile` is no `File`.
fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(start, _)| {
        let before = line[..start].chars().next_back();
        !before.is_some_and(|letter| letter.is_alphanumeric() || letter == '_')
    })
}

/// A client: it speaks HTTP, and reads and writes its user's files.
const COMMAND_LINE: &str = "cli/";

#[test]
fn the_command_line_knows_of_the_service_what_it_answers() {
    for file in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli")) {
        let text = fs::read_to_string(&file).unwrap();
        for module in ["api", "service", "storage", "precondition", "patch"] {
            let named = text.contains(&format!("crate::{module}"));
            assert!(!named, "{}: {module}", file.display());
        }
    }
}

/// A client too: gRPC is spoken over HTTP/2.
const ETCD: &str = "storage/etcd/client/";

#[test]
fn only_the_api_knows_http() {
    let words = ["axum", "http::", "hyper", "StatusCode", "HeaderMap"];
    let found: Vec<_> = strangers("api/", &words)
        .into_iter()
        .filter(|stranger| !stranger.starts_with(COMMAND_LINE) && !stranger.starts_with(ETCD))
        .collect();
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn only_the_file_engine_and_the_command_line_open_files() {
    let words = ["std::fs", "tokio::fs", "File::", "OpenOptions", "tempfile"];
    // The second replaces files for the file engine and the command line alike. The third reads what only the
    // operator writes: tokens, certificates.
    let others = [
        "storage/conformance/",
        "atomic_file/",
        "changed_file.rs",
        COMMAND_LINE,
    ];
    let found: Vec<_> = strangers("storage/file/", &words)
        .into_iter()
        .filter(|stranger| !others.iter().any(|other| stranger.starts_with(other)))
        .collect();
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn what_is_pure_does_not_wait_and_does_no_io() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files = ["merge.rs", "precondition.rs", "storage/file/format.rs"];
    let mut pure: Vec<_> = files.iter().map(|file| root.join(file)).collect();
    for folder in ["json", "model", "patch", "storage/file/journal"] {
        pure.extend(sources(&root.join(folder)));
    }
    let words = [
        ".await",
        "tokio",
        "std::fs",
        "std::net",
        "SystemTime::now",
        "Instant::now",
        "crate::token",
    ];
    for path in pure {
        let text = fs::read_to_string(&path).unwrap();
        for word in words {
            assert!(!text.contains(word), "{}: {word}", path.display());
        }
    }
}

/// The types in `src/storage` that implement `Store`.
fn engines() -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/storage");
    let texts = sources(&folder).into_iter().map(fs::read_to_string);
    let mut engines = BTreeSet::new();
    for text in texts {
        let text = text.unwrap();
        // Those of tests wrap another engine.
        let code = text.split("#[cfg(test)]").next().unwrap();
        for line in code.lines().filter(|line| line.starts_with("impl")) {
            if let Some((_, engine)) = line.split_once("Store for ") {
                let is_name = |letter: char| letter.is_alphanumeric() || letter == '_';
                engines.extend(
                    engine
                        .split(|letter| !is_name(letter))
                        .next()
                        .map(str::to_owned),
                );
            }
        }
    }
    engines
}

#[test]
fn only_main_and_the_front_page_name_an_engine() {
    let engines = engines();
    assert!(
        engines.contains("FileStore") && engines.contains("MemoryStore"),
        "{engines:?}"
    );
    let engines: Vec<&str> = engines.iter().map(String::as_str).collect();
    let found: Vec<_> = strangers("storage/", &engines)
        .into_iter()
        .filter(|stranger| !stranger.starts_with("main.rs") && !stranger.starts_with("lib.rs"))
        .collect();
    assert_eq!(found, Vec::<String>::new());
}

/// The paths of the `use` declarations of a file, without those of its tests, one for each name; and
/// whether it passes the name on.
fn declared_uses(text: &str) -> Vec<(bool, String)> {
    let code = text.split("#[cfg(test)]").next().unwrap();
    let declarations = code.split_inclusive(';').filter_map(|statement| {
        let (start, passed_on) = match statement.find("\npub use ") {
            Some(start) => (start + "\npub use ".len(), true),
            None => (statement.find("\nuse ")? + "\nuse ".len(), false),
        };
        let tree: Vec<_> = statement[start..].split_whitespace().collect();
        Some((passed_on, tree.join(" ").replace(';', "")))
    });
    let one_each = |(passed_on, tree): (bool, String)| {
        let paths = expanded(&tree).into_iter();
        paths.map(move |path| (passed_on, path))
    };
    declarations.flat_map(one_each).collect()
}

/// `a::{b,c::{d,e}}` as `a::b`, `a::c::d` and `a::c::e`.
fn expanded(tree: &str) -> Vec<String> {
    let Some((before, rest)) = tree.split_once('{') else {
        let path = tree.split(" as ").next().unwrap_or(tree);
        return vec![path.to_owned()];
    };
    let inner = rest.trim_end().strip_suffix('}').unwrap();
    let mut depth = 0;
    let branches = inner.split(|letter| {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        letter == ',' && depth == 0
    });
    let branches = branches.map(str::trim).filter(|branch| !branch.is_empty());
    let whole = branches.flat_map(|branch| expanded(&format!("{before}{branch}")));
    whole.collect()
}

/// The modules of `src` by their paths, each with what it declares.
type Modules = BTreeMap<Vec<String>, Vec<(bool, String)>>;

/// The module that defines what `path` names in `module`, if it is one of these.
fn definer(modules: &Modules, module: &[String], path: &str) -> Option<Vec<String>> {
    let mut place = module.to_vec();
    for (index, step) in path.split("::").enumerate() {
        match step {
            "crate" => place.clear(),
            "super" => drop(place.pop()),
            "self" => {}
            _ if index == 0 => return None,
            _ => place.push(step.to_owned()),
        }
    }
    let mut name = None;
    while !modules.contains_key(&place) {
        name = Some(place.pop()?);
    }
    let is_name = |used: &str| used.rsplit("::").next() == name.as_deref();
    let passed_on = modules[&place]
        .iter()
        .find(|(passed_on, used)| *passed_on && is_name(used));
    passed_on
        .and_then(|(_, used)| definer(modules, &place, used))
        .or(Some(place))
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let module = |file: PathBuf| {
        let name = file.strip_prefix(&root).unwrap().with_extension("");
        let steps = name.iter().map(|step| step.to_str().unwrap().to_owned());
        let steps = steps.filter(|step| step != "mod" && step != "lib");
        (
            steps.collect(),
            declared_uses(&fs::read_to_string(&file).unwrap()),
        )
    };
    let modules: Modules = sources(&root).into_iter().map(module).collect();
    let imports = |(module, uses): (&Vec<String>, &Vec<(bool, String)>)| {
        let own = uses.iter().filter(|(passed_on, _)| !passed_on);
        let found = own.filter_map(|(_, path)| definer(&modules, module, path));
        let others: BTreeSet<_> = found.filter(|other| other != module).collect();
        (module.clone(), others)
    };
    let mut left: BTreeMap<_, _> = modules.iter().map(imports).collect();
    assert!(
        left.values().map(BTreeSet::len).sum::<usize>() > 200,
        "{left:?}"
    );
    // What imports nothing that is left, or is imported by nothing, is in no circle.
    while let Some(done) = left.keys().find(|module| {
        let is_imported = left.values().any(|imports| imports.contains(*module));
        left[*module].is_empty() || !is_imported
    }) {
        let done = done.clone();
        left.remove(&done);
        for imports in left.values_mut() {
            imports.remove(&done);
        }
    }
    assert_eq!(left, BTreeMap::new());
}
