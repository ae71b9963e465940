//! The files of the libraries that the server was started with, found as it found them.

use crate::core::library::{listed, resolve};
use crate::settings;
use pgrx::prelude::*;
use std::path::Path;

/// A name for which there is no file any more stands for itself: as a file that is not found.
#[pg_extern(sql = false)]
fn _preloaded_libraries() -> SetOfIterator<'static, String> {
    let settings::Preloaded { libraries, path, home } = settings::preloaded();
    let file = |name: String| resolve(&name, &path, &home, |file| Path::new(file).is_file()).unwrap_or(name);
    SetOfIterator::new(listed(&libraries).into_iter().map(file).collect::<Vec<_>>())
}
