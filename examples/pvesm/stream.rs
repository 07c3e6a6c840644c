// SPDX-License-Identifier: MIT OR Apache-2.0
//! `pvesm export`, `import` and `copy`: volumes as streams.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use bstr::{BStr, BString};
use examples::ending;
use pve_storage::{Error, Planning, Session, Storages, StreamFormat, Transfer, With, negotiate};
use pve_volid::{ImageFormat, VmId, VolumeId, VolumeIdRef};
use serde_json::json;

use crate::place::{Place, complain};
use crate::{Out, Outcome};

/// What of a volume travels.
#[derive(clap::Args)]
struct Scope {
    /// The snapshot that travels; the present content if left out
    #[arg(long, value_name = "NAME")]
    snapshot: Option<BString>,
    /// The snapshot that both sides have: only the difference travels
    #[arg(long, value_name = "NAME")]
    base: Option<BString>,
    /// Snapshots travel along
    #[arg(long)]
    with_snapshots: bool,
}

#[derive(clap::Args)]
pub(crate) struct Export {
    /// The volume, STORAGE:VOLNAME
    volume: String,
    /// Format of the stream: raw+size, qcow2+size, vmdk+size, tar+size, zfs, btrfs; auto for the first that the volume offers
    #[arg(value_parser = stream_format)]
    format: Format,
    /// A file that does not exist yet; - for standard output
    file: PathBuf,
    #[command(flatten)]
    scope: Scope,
}

#[derive(clap::Args)]
pub(crate) struct Import {
    /// The volume to make, STORAGE:VOLNAME
    volume: String,
    /// Format of the stream: raw+size, qcow2+size, vmdk+size, tar+size, zfs, btrfs; auto for the first that the storage takes
    #[arg(value_parser = stream_format)]
    format: Format,
    /// The file; - for standard input
    file: PathBuf,
    #[command(flatten)]
    scope: Scope,
    /// Take another name if this one is taken
    #[arg(long)]
    allow_rename: bool,
}

#[derive(clap::Args)]
pub(crate) struct Copy {
    /// The volume, STORAGE:VOLNAME
    volume: String,
    /// The storage that gets the copy
    storage: String,
    /// The guest that will own the copy; the same if left out
    #[arg(long, value_name = "VMID")]
    vmid: Option<VmId>,
    #[command(flatten)]
    scope: Scope,
}

/// A stream format, or the best one.
#[derive(Clone, Copy)]
enum Format {
    Best,
    Named(StreamFormat),
}

fn stream_format(text: &str) -> Result<Format, String> {
    if text == "auto" {
        return Ok(Format::Best);
    }
    let named = StreamFormat::from_name(text).map(Format::Named);
    named.ok_or_else(|| format!("there is no stream format '{text}'"))
}

impl Scope {
    fn transfer(&self, format: StreamFormat) -> Transfer<'_> {
        Transfer {
            snapshot: self.snapshot.as_ref().map(BStr::new),
            base: self.base.as_ref().map(BStr::new),
            with: if self.with_snapshots { With::All } else { With::Nothing },
            ..Transfer::new(format)
        }
    }

    /// Formats that the volume can be exported in, or imported from.
    fn formats(
        &self,
        storages: &Storages,
        volume: &str,
        export: bool,
    ) -> pve_storage::Result<Vec<StreamFormat>> {
        let id = VolumeIdRef::from_bytes(volume.as_bytes())?;
        let volume = storages.require(id.storage().as_str())?.volume(id.volname())?;
        // what the scope is does not depend on the format
        let scope = self.transfer(StreamFormat::RawSize).scope();
        if export { volume.export_formats(scope) } else { volume.import_formats(scope) }
    }
}

impl Export {
    pub(crate) fn run(&self, place: &Place, out: &mut Out) -> Outcome {
        let offered = self.scope.formats(&place.storages, &self.volume, true)?;
        let transfer = self.scope.transfer(choose(self.format, &offered, &self.volume, "offers")?);
        let volume = BStr::new(&self.volume);
        if place.dry_run {
            return place.change(out, "", |session| {
                session.export(volume, &transfer, &mut io::sink()).map(|()| &self.volume)
            });
        }
        let session = place.session(&place.host);
        let size = session.size_info(volume).ok().map(|info| info.size);
        let file: Box<dyn Write + Send> = match is_standard(&self.file) {
            true => Box::new(io::stdout()),
            false => Box::new(File::create_new(&self.file).map_err(|error| at(&self.file, &error))?),
        };
        let bar = place.bar("export", size);
        let result = session.export(volume, &transfer, &mut bar.wrap_write(file));
        bar.finish_and_clear();
        // half a stream is none, and would be in the way of the next
        if result.is_err()
            && !is_standard(&self.file)
            && let Err(error) = std::fs::remove_file(&self.file)
        {
            complain("warning", &at(&self.file, &error));
        }
        Ok(result?)
    }
}

impl Import {
    pub(crate) fn run(&self, place: &Place, out: &mut Out) -> Outcome {
        let taken = self.scope.formats(&place.storages, &self.volume, false)?;
        let format = choose(self.format, &taken, &self.volume, "takes")?;
        let transfer = Transfer { allow_rename: self.allow_rename, ..self.scope.transfer(format) };
        let (file, size): (Box<dyn Read + Send>, _) = match is_standard(&self.file) {
            true => (Box::new(io::stdin()), None),
            false => {
                let file = File::open(&self.file).map_err(|error| at(&self.file, &error))?;
                let size = file.metadata()?.len();
                (Box::new(file), Some(size))
            }
        };
        let bar = place.bar("import", size);
        place.change(out, "successfully imported '{}'", |session| {
            let made = session.import(BStr::new(&self.volume), &transfer, &mut bar.wrap_read(file));
            bar.finish_and_clear();
            made
        })
    }
}

impl Copy {
    pub(crate) fn run(&self, place: &Place, out: &mut Out) -> Outcome {
        let source = BStr::new(&self.volume);
        let target = place.ask(|session| self.target(session))?;
        let name = target.to_string();
        let (export, import) = (
            self.scope.formats(&place.storages, &self.volume, true)?,
            self.scope.formats(&place.storages, &name, false)?,
        );
        let format = negotiate(&export, &import).ok_or_else(|| {
            let names = |formats: &[StreamFormat]| {
                let names: Vec<&str> = formats.iter().map(|format| format.as_str()).collect();
                if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
            };
            format!("'{source}' offers {}, '{name}' takes {}", names(&export), names(&import))
        })?;
        let sent = self.scope.transfer(format);
        let received = Transfer { allow_rename: true, ..sent };
        if place.dry_run {
            return self.plan(place, out, &target, &sent, &received);
        }
        let size = place.session(&place.host).size_info(source)?.size;
        let bar = place.bar("copy", Some(size));
        let (mut reader, writer) = io::pipe()?;
        let made = std::thread::scope(|scope| {
            let (host, progress) = (place.host.clone(), bar.clone());
            let sender = scope
                .spawn(move || place.session(&host).export(source, &sent, &mut progress.wrap_write(writer)));
            let made = place.session(&place.host).import(target.as_bstr(), &received, &mut reader);
            // an exporter that still writes must not wait for a reader that has failed
            drop(reader);
            let sent = sender.join().unwrap_or_else(|_| {
                Err(Error::Request {
                    volume: source.to_owned(),
                    reason: "the thread that reads it has ended".into(),
                })
            });
            match (sent, made) {
                // a pipe that nobody reads any more: why the import gave up is the cause
                (Err(export), Err(import)) if is_broken_pipe(&export) => Err(import),
                // a stream that ended early may look complete to the import: what came of it is no copy
                (Err(export), Ok(made)) => {
                    if let Err(error) = place.session(&place.host).free(made.as_bstr()) {
                        complain("warning", &format!("cannot take back '{made}': {error}"));
                    }
                    Err(export)
                }
                // else an import that fails too has only seen its stream end
                (sent, made) => sent.and(made),
            }
        });
        bar.finish_and_clear();
        let made = made?.to_string();
        if place.json {
            writeln!(out, "{}", json!({ "volid": made, "format": format }))?;
        } else {
            writeln!(out, "successfully created '{made}'")?;
        }
        Ok(())
    }

    /// A free name on the target; what belongs to no guest keeps its name.
    fn target(&self, session: &Session<'_>) -> pve_storage::Result<VolumeId> {
        let id = VolumeIdRef::from_bytes(self.volume.as_bytes())?;
        let volume = session.storages().require(id.storage().as_str())?.volume(id.volname())?;
        let storage = session.enabled_storage(&self.storage)?;
        session.activate_storage(&self.storage)?;
        // the volume has the format that the stream holds
        let offered = self.scope.formats(session.storages(), &self.volume, true)?;
        let format = match offered.first() {
            Some(StreamFormat::RawSize) => Some(ImageFormat::Raw),
            _ => volume.format.image(),
        };
        match (self.vmid, volume.owner) {
            (Some(vmid), _) => session.free_volume(&self.storage, vmid, format),
            (None, Some(owner)) => session.free_volume(&self.storage, owner, format),
            (None, None) => storage.volid(id.volname()),
        }
    }

    /// Both halves of the copy, one after the other.
    fn plan(
        &self,
        place: &Place,
        out: &mut Out,
        target: &VolumeId,
        sent: &Transfer<'_>,
        received: &Transfer<'_>,
    ) -> Outcome {
        // of the data, the import looks at the size alone
        let mut header = Vec::new();
        let plan = Planning::new(&place.host);
        place.session(&plan).export(BStr::new(&self.volume), sent, &mut header)?;
        place.session(&plan).import(target.as_bstr(), received, &mut header.as_slice())?;
        if place.json {
            let steps: Vec<String> = plan.steps().iter().map(ToString::to_string).collect();
            writeln!(out, "{:#}", json!({ "volid": target, "format": sent.format, "plan": steps }))?;
        } else {
            write!(out, "{plan}")?;
        }
        Ok(())
    }
}

fn choose(
    format: Format,
    possible: &[StreamFormat],
    volume: &str,
    does: &str,
) -> Result<StreamFormat, String> {
    match format {
        Format::Named(format) => Ok(format),
        Format::Best => {
            possible.first().copied().ok_or_else(|| format!("'{volume}' {does} no stream format for this"))
        }
    }
}

fn is_standard(file: &Path) -> bool {
    file.as_os_str() == "-"
}

fn at(file: &Path, error: &io::Error) -> String {
    format!("{}: {error}", file.display())
}

/// Whether nobody reads the pipe any more that was written to.
fn is_broken_pipe(error: &Error) -> bool {
    let first: Option<&(dyn std::error::Error + 'static)> = Some(error);
    std::iter::successors(first, |error| error.source()).any(ending::is_broken_pipe)
}
