// SPDX-License-Identifier: MIT OR Apache-2.0
//! PATH_TO_VOLUME_ID: which volume lies at a path.

use std::path::Path;

use bstr::BStr;
use pve_storage::Session;
use serde_json::{Value, json};

use super::storage_world::{host, storages};
use crate::{Actual, bytes};

pub(crate) fn run(case: &Value, _dir: &Path) -> Actual {
    let storages = storages(case)?;
    let mut host = host(case)?;
    host.measure_images();
    let session = Session::new(&storages, &host, "localhost").assume_active();
    let path = bytes::read(&case["path"]).ok_or("no path")?;
    Ok(match session.volume_at(BStr::new(&path)).map_err(|e| e.to_string())? {
        Some((vtype, volid)) => json!({ "vtype": vtype, "volid": bytes::write(volid.as_bstr()) }),
        None => json!({ "vtype": "", "volid": null }),
    })
}
