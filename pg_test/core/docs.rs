//! The documents name tests that exist: a claim without its test is no claim.

use std::fs;
use std::path::Path;

/// Documents, and how many tests each names at least.
const DOCUMENTS: [(&str, usize); 2] = [("docs/ways_around.md", 100), ("docs/masking.md", 80)];

/// Names in backquotes that look like a test: `subject::behaviour`.
fn named(document: &str) -> Vec<&str> {
    document.split('`').skip(1).step_by(2).filter(|name| name.contains("::") && !name.contains(' ')).collect()
}

/// Where a test lies; `core::…` are those of the pure modules.
fn check(root: &Path, document: &str, name: &str) {
    let (module, test) = name.rsplit_once("::").expect("a path");
    let (module, directory) = match module.strip_prefix("core::") {
        Some(module) => (module, "pg_test/core"),
        None => (module, "pg_test/cluster"),
    };
    let file = root.join(directory).join(format!("{}.rs", module.replace("::", "/")));
    let source =
        fs::read_to_string(&file).unwrap_or_else(|error| panic!("{document}: {name}: {}: {error}", file.display()));
    // In the list that the runner is given, or marked; and defined.
    let listed = source.contains(&format!("\n    {test},\n"));
    let marked =
        source.match_indices(&format!("fn {test}(")).any(|(at, _)| source[..at].trim_end().ends_with("#[test]"));
    assert!(listed || marked, "{document}: {name} is not registered in {}", file.display());
    assert!(source.contains(&format!("fn {test}(")), "{document}: {name} is not defined in {}", file.display());
}

#[test]
fn every_test_named_in_a_document_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (path, least) in DOCUMENTS {
        let document = fs::read_to_string(root.join(path)).expect(path);
        let names = named(&document);
        assert!(names.len() >= least, "{path}: {} tests named", names.len());
        names.iter().for_each(|name| check(root, path, name));
    }
}
