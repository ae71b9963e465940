//! The table of docs/ways_around.md names tests that exist.

use std::fs;
use std::path::Path;

/// Names in backquotes that look like a test: `subject::behaviour`.
fn named(document: &str) -> Vec<&str> {
    document.split('`').skip(1).step_by(2).filter(|name| name.contains("::") && !name.contains(' ')).collect()
}

#[test]
fn every_test_named_in_the_table_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let document = fs::read_to_string(root.join("docs/ways_around.md")).expect("docs/ways_around.md");
    let names = named(&document);
    assert!(names.len() > 100, "{} tests named", names.len());
    for name in names {
        let (module, test) = name.rsplit_once("::").expect("a path");
        let file = root.join("pg_test/cluster").join(format!("{}.rs", module.replace("::", "/")));
        let source = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{name}: {}: {error}", file.display()));
        // In the list that the runner is given, and defined.
        assert!(source.contains(&format!("\n    {test},\n")), "{name} is not registered in {}", file.display());
        assert!(source.contains(&format!("\nfn {test}() {{")), "{name} is not defined in {}", file.display());
    }
}
