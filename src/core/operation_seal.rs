//! The seal of an operation: what was filed, what others said to it and how far it has come, under a key that lies outside
//! the database. A row that somebody writes into the tables, past every function and hook, has none that fits.
//!
//! ```text
//! key  = HMAC-SHA-256(key file, "pg_steward operation\0")
//! seal = HMAC-SHA-256(key, row …)      row = u64 number of values ‖ value …      value = 0 | 1 ‖ u64 length ‖ bytes
//! ```

use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::seal::KEY_BYTES;

/// Says what for: the same key seals the second factor and makes the tokens of masks.
const PURPOSE: &[u8] = b"pg_steward operation\0";

/// The values of one row; None: NULL.
pub type Row = Vec<Option<String>>;

/// The seal of an operation that consists of these rows.
pub fn seal(master: &[u8; KEY_BYTES], rows: &[Row]) -> Option<[u8; 32]> {
    Some(mac(master, rows)?.finalize().into_bytes().into())
}

/// Whether a seal is that of these rows. Takes the same time wherever it differs.
pub fn fits(master: &[u8; KEY_BYTES], rows: &[Row], seal: &[u8]) -> bool {
    mac(master, rows).is_some_and(|mac| mac.verify_slice(seal).is_ok())
}

fn mac(master: &[u8; KEY_BYTES], rows: &[Row]) -> Option<Hmac<Sha256>> {
    let derived = Hmac::<Sha256>::new_from_slice(master).ok()?.chain_update(PURPOSE).finalize().into_bytes();
    let mut mac = Hmac::<Sha256>::new_from_slice(&derived).ok()?;
    for row in rows {
        mac.update(&(row.len() as u64).to_be_bytes());
        for value in row {
            match value {
                None => mac.update(&[0]),
                Some(text) => {
                    mac.update(&[1]);
                    mac.update(&(text.len() as u64).to_be_bytes());
                    mac.update(text.as_bytes());
                }
            }
        }
    }
    Some(mac)
}
