//! The tables of docs/ways_around.md name tests that exist and that the runner knows, and each row of them names one.

use std::fs;
use std::path::Path;

/// Every row says by which test it is shown.
#[test]
fn every_row_of_the_table_names_a_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let document = fs::read_to_string(root.join("docs/ways_around.md")).expect("docs/ways_around.md");
    for line in document.lines().filter(|line| line.starts_with("| ") && *line != "| attack | outcome | test |") {
        assert!(!named(line).is_empty(), "{line}");
        assert_eq!(line.split(" | ").count(), 3, "{line}");
    }
}

/// Names in backquotes that look like a test: `subject::behaviour`.
fn named(document: &str) -> Vec<&str> {
    document.split('`').skip(1).step_by(2).filter(|name| name.contains("::") && !name.contains(' ')).collect()
}

#[test]
fn every_test_named_in_the_table_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let document = fs::read_to_string(root.join("docs/ways_around.md")).expect("docs/ways_around.md");
    let rows = document.lines().filter(|line| line.starts_with("| ") && !named(line).is_empty()).count();
    assert!(rows >= 120, "{rows} rows that name a test");
    let main = fs::read_to_string(root.join("pg_test/cluster/main.rs")).expect("main.rs");
    let names = named(&document);
    for name in names {
        let (module, test) = name.rsplit_once("::").expect("a path");
        assert!(main.contains(&format!("        {module}::tests(),\n")), "{name}: the runner does not know {module}");
        let file = root.join("pg_test/cluster").join(format!("{}.rs", module.replace("::", "/")));
        let source = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{name}: {}: {error}", file.display()));
        // In the list that the runner is given, and defined.
        assert!(source.contains(&format!("\n    {test},\n")), "{name} is not registered in {}", file.display());
        assert!(source.contains(&format!("\nfn {test}() {{")), "{name} is not defined in {}", file.display());
    }
}
