//! The witness's file of checkpoints: what it wrote reads back, and nothing else passes for it.

use crate::core::chain::Head;
use crate::program::checkpoint::Book;
use crate::program::{Failure, Outcome};
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

const STANZA: &str = "pg_steward/00010203-0405-0607-0809-0a0b0c0d0e0f
42
q6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6s=
pg_steward/1 00010203-0405-0607-0809-0a0b0c0d0e0f 42 abababababababababababababababababababababababababababababababab \
2026-11-30T05:54:00.123456Z

";

fn head(id: i64) -> Head {
    Head { ledger: std::array::from_fn(|at| at as u8), id, hash: [0xab; 32] }
}

/// A file of this test's own, deleted with it.
struct Scratch(PathBuf);

impl Scratch {
    fn holding(text: &str) -> Scratch {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("pgs-checkpoints-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::SeqCst));
        let path = std::env::temp_dir().join(name);
        fs::write(&path, text).unwrap();
        Scratch(path)
    }

    fn read(&self) -> String {
        fs::read_to_string(&self.0).unwrap()
    }

    fn open(&self) -> Outcome<Book> {
        Book::open(&self.0)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_file(&self.0).unwrap();
    }
}

#[test]
fn a_frozen_stanza_reads_back() {
    let file = Scratch::holding(STANZA);
    assert_eq!(file.open().unwrap().last(), Some(head(42)));
}

#[test]
fn appended_checkpoints_read_back() {
    let file = Scratch::holding(STANZA);
    let mut book = file.open().unwrap();
    book.append(&Head { hash: [1; 32], ..head(50) }).unwrap();
    assert!(file.read().starts_with(STANZA), "what is written is never changed");
    let again = file.open().unwrap();
    assert_eq!(again.last(), Some(Head { hash: [1; 32], ..head(50) }));
    assert_eq!((again.hash_at(42), again.hash_at(43)), (Some(&[0xab; 32]), None));
}

#[test]
fn a_torn_stanza_is_taken_off() {
    for length in 0..STANZA.len() {
        let file = Scratch::holding(&format!("{STANZA}{}", &STANZA[..length]));
        assert_eq!(file.open().unwrap().last(), Some(head(42)), "torn at {length}");
        assert_eq!(file.read(), STANZA, "torn at {length}");
    }
}

#[test]
fn what_was_changed_is_refused() {
    let later = STANZA.replace("\n42\n", "\n43\n").replace("0f 42 ", "0f 43 ");
    let changed = [
        STANZA.replacen("42", "43", 1),
        STANZA.replace("q6ur", "q6us"),
        STANZA.replacen("00010203", "00010204", 1),
        STANZA.replace(" 42 ", " 41 "),
        STANZA.replace("\n42", "\n\n42"),
        format!("\n{STANZA}"),
        // Twice the same, an older one after a newer one, one of another chain.
        format!("{STANZA}{STANZA}"),
        format!("{later}{STANZA}"),
        format!("{STANZA}{}", later.replace("00010203", "00010204")),
    ];
    assert!(Scratch::holding(&format!("{STANZA}{later}")).open().is_ok());
    for text in changed {
        let opened = Scratch::holding(&text).open();
        assert!(matches!(opened, Err(Failure::Own(_))), "{text}");
    }
}
