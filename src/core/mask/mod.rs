//! Masks: what is shown of a value in its place. One file per family of classes.
//!
//! What does not parse becomes `***` (or NULL in types that cannot hold it), never itself and never an error; how much is
//! hidden does not show how long the value was. A mask keeps only what a class says may be kept: a stretch at the front
//! and at the end of a number that was recognised as one, names of the official divisions, words of a fixed list. Nothing
//! here may keep text because it looks harmless.

pub mod address;
pub mod band;
pub mod bank_card;
pub mod birth_date;
pub mod email;
pub mod guardian;
pub mod id_card;
pub mod json;
pub mod name;
pub mod names;
pub mod passport;
pub mod phone;
mod spec;
mod text;
pub mod token;

pub use spec::{Class, Mask, Spec};
pub use text::is_letter;
pub use token::Key;

/// In the place of a value of which nothing is shown.
pub const HIDDEN: &str = "***";
/// In the place of what is hidden of a value, however long that is.
pub const FILL: &str = "****";
/// No text of more bytes is looked into: what the classes mean is short.
pub const LONGEST: usize = 4096;

/// The mask of a text. Without a key a hash or pseudonym is `***`: without one it could be tried out.
pub fn mask_text(spec: Spec, value: &str, key: Option<&Key>) -> String {
    let mut masked = String::new();
    write(&mut masked, spec, value, key);
    masked
}

/// Appends the mask of a text.
pub fn write(out: &mut String, spec: Spec, value: &str, key: Option<&Key>) {
    let start = out.len();
    let shown = match spec.mask {
        Mask::None => return out.push_str(value),
        Mask::Hide => None,
        Mask::Hash | Mask::Pseudonym => token::write(out, spec, value, key),
        Mask::Partial | Mask::Generalize if value.len() > LONGEST => None,
        Mask::Partial | Mask::Generalize => part(out, spec, value, key),
    };
    if shown.is_none() || out[start..] == *value {
        out.truncate(start);
        out.push_str(HIDDEN);
    }
}

/// Appends what the class shows; None: nothing (and what was appended so far does not count).
fn part(out: &mut String, spec: Spec, value: &str, key: Option<&Key>) -> Option<()> {
    match spec.class {
        Class::IdCard => id_card::write(out, spec, value),
        Class::Phone => phone::write(out, spec, value),
        Class::Name => name::write(out, spec, value),
        Class::Address => address::write(out, spec, value),
        Class::Guardian => guardian::write(out, spec, value),
        Class::Passport => passport::write(out, spec, value),
        Class::BankCard => bank_card::write(out, spec, value),
        Class::Email => email::write(out, spec, value),
        Class::BirthDate => birth_date::write(out, spec, value),
        Class::Score | Class::Amount => band::write(out, spec, value),
        Class::FreeId if spec.needs_key() => token::write(out, Spec { mask: Mask::Pseudonym, ..spec }, value, key),
        Class::FreeId | Class::Other if spec.mask == Mask::Partial => {
            let (prefix, suffix) = spec.ends()?;
            let value = value.trim();
            text::keep(out, value, prefix, suffix, value.chars().count().div_ceil(2).max(4))
        }
        Class::FreeId | Class::Other | Class::Photo => None,
    }
}
