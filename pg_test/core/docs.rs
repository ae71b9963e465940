//! The documents name tests that exist: a claim without its test is no claim.

use std::fs;
use std::path::Path;

/// Documents, and how many tests each names at least.
const DOCUMENTS: [(&str, usize); 3] =
    [("docs/ways_around.md", 120), ("docs/masking.md", 80), ("docs/requirements.md", 150)];

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
    let runner = fs::read_to_string(root.join("pg_test/cluster/main.rs")).expect("main.rs");
    let known = directory == "pg_test/core" || runner.contains(&format!("        {module}::tests(),\n"));
    assert!(known, "{document}: {name}: the runner does not know {module}");
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

/// Every attack says by which test its outcome is shown.
#[test]
fn every_attack_names_a_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let document = fs::read_to_string(root.join("docs/ways_around.md")).expect("docs/ways_around.md");
    let attacks = document.lines().filter(|line| line.starts_with("| ") && *line != "| attack | outcome | as | test |");
    let attacks: Vec<&str> = attacks.collect();
    assert!(attacks.len() >= 120, "{} attacks", attacks.len());
    for line in attacks {
        assert!(!named(line).is_empty(), "{line}");
        let cells: Vec<&str> = line.split(" | ").collect();
        assert_eq!(cells.len(), 4, "{line}");
        let whose = ["both", "ordinary", "superuser", "anybody"];
        assert!(whose.iter().any(|role| cells[2].starts_with(role)), "{line}: as whom");
    }
}

/// Links of one document to another, and to a heading of it.
fn links(document: &str) -> impl Iterator<Item = &str> {
    document.split("](").skip(1).filter_map(|rest| rest.split(')').next()).filter(|link| !link.contains("://"))
}

/// A heading as a link names it.
fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase().replace(' ', "-");
    kept.chars().filter(|c| c.is_alphanumeric() || *c == '-' || *c == '_').collect()
}

#[test]
fn every_link_between_documents_leads_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = fs::read_dir(root.join("docs")).expect("docs").map(|entry| entry.expect("an entry").path());
    let documents: Vec<_> = ["README.md", "README.zh-CN.md"]
        .map(|name| root.join(name))
        .into_iter()
        .chain(docs.filter(|path| path.extension().is_some_and(|extension| extension == "md")))
        .collect();
    let mut followed = 0;
    for path in &documents {
        let document = fs::read_to_string(path).expect("a document");
        for link in links(&document) {
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { path.clone() } else { path.with_file_name("").join(file) };
            assert!(target.exists(), "{}: {link}", path.display());
            if !heading.is_empty() {
                let text = fs::read_to_string(&target).expect("a document");
                let headings = text.lines().filter(|line| line.starts_with('#'));
                let known = headings.map(|line| anchor(line.trim_start_matches('#').trim())).any(|it| it == heading);
                assert!(known, "{}: {link}", path.display());
            }
            followed += 1;
        }
    }
    assert!(followed >= 25, "{followed} links");
}
