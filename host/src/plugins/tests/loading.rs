//! What is refused before it ever runs, what is kept of what was compiled, and that the bundled policies answer as the
//! native defaults do.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use super::super::cache::{Cache, Origin};
use super::super::check::check;
use super::super::failure::Step;
use super::super::instance::Source;
use super::super::limits;
use super::super::loader::{Outline, digest};
use super::super::slot_name::SlotName;
use super::super::state::GuestState;
use super::super::wasi;
use super::super::worlds::host_selection::{self, HostChoice};
use super::super::worlds::npc_transform::{self, NpcView};
use super::super::worlds::rate_limit::{self, RateLimit};
use super::{empty_slot, fixture, load, loader};
use crate::ports::policies::{Caller, HostSelection, NpcTransforming, RateLimiting, Rung, Surface};

#[test]
fn the_bundled_policies_pass_every_step() {
    for slot in SlotName::ALL {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../plugins/dist")
            .join(slot.file());
        let report = check(&path, None, &[]).unwrap();
        assert!(report.accepted, "{report}");
        assert_eq!(report.slot, Some(slot));
        assert_eq!(report.steps.len(), 11, "{report}");
        assert_eq!(report.digest, Some(digest(slot.bundled())));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bundled_policies_answer_as_the_native_defaults() {
    let loader = loader(None);
    let rate_slot = empty_slot::<rate_limit::Bound>();
    load(&rate_slot, &loader, SlotName::RateLimit.bundled()).unwrap();
    let (component, native) = (RateLimit::new(rate_slot, &[]), RateLimit::new(empty_slot(), &[]));
    for surface in [Surface::Api, Surface::Auth, Surface::Exempt, Surface::Websocket] {
        let request = rate_limit::sample(surface, Caller::Player);
        assert_eq!(component.decide(&request), native.decide(&request));
    }

    let host_slot = empty_slot::<host_selection::Bound>();
    load(&host_slot, &loader, SlotName::HostSelection.bundled()).unwrap();
    let (component, native) = (HostChoice::new(host_slot), HostChoice::new(empty_slot()));
    let candidates: Vec<_> = (0..300).map(host_selection::sample_candidate).collect();
    for candidate in &candidates {
        assert!((component.score(&candidate.host) - native.score(&candidate.host)).abs() < 1e-9);
    }
    let (picks, rung) = component
        .rank(host_selection::sample_request(), candidates.clone())
        .await;
    assert_eq!(rung, Rung::Component);
    assert!(!picks.is_empty());
    assert_eq!(picks, native.rank(host_selection::sample_request(), candidates).await.0);

    let npc_slot = empty_slot::<npc_transform::Bound>();
    load(&npc_slot, &loader, SlotName::NpcTransform.bundled()).unwrap();
    let (component, native) = (NpcView::new(Arc::clone(&npc_slot)), NpcView::new(empty_slot()));
    let seen = component.transform(npc_transform::sample_frame(50)).await;
    assert_eq!(seen, native.transform(npc_transform::sample_frame(50)).await);
    assert_eq!(npc_slot.counts().component, 1);
}

#[test]
fn an_exchanged_release_is_gone_from_every_cell() {
    let loader = loader(None);
    let slot = empty_slot::<rate_limit::Bound>();
    load(&slot, &loader, SlotName::RateLimit.bundled()).unwrap();
    let limit = RateLimit::new(Arc::clone(&slot), &[]);
    let request = rate_limit::sample(Surface::Api, Caller::Player);
    let ask_from_many_threads = || {
        std::thread::scope(|threads| {
            for _ in 0..8 {
                threads.spawn(|| limit.decide(&request));
            }
        });
    };
    ask_from_many_threads();
    let first = Arc::downgrade(&slot.current().unwrap());
    load(&slot, &loader, SlotName::RateLimit.bundled()).unwrap();
    assert!(first.upgrade().is_none(), "nobody asks, and nothing holds it");
    let second = slot.current().unwrap();
    ask_from_many_threads();
    assert_eq!(second.tally.seen().answered, 8, "every thread asks the new one");
    assert_eq!(slot.counts().component, 16);
}

#[test]
fn a_stranger_is_refused_with_a_reason_that_helps() {
    let loader = loader(None);
    let slot = empty_slot::<rate_limit::Bound>();
    let refused = |bytes: &[u8]| load(&slot, &loader, bytes).unwrap_err();

    let refusal = refused(&fixture("wrong-world"));
    assert_eq!(refusal.step, Step::World);
    assert!(
        refusal.reason.contains("`p2p-coordinator:policy/lifecycle@1.0.0`"),
        "{refusal}"
    );

    let refusal = refused(SlotName::NpcTransform.bundled());
    assert_eq!(refusal.step, Step::World);
    assert!(
        refusal.reason.contains("`p2p-coordinator:policy/limiting@1.0.0`"),
        "{refusal}"
    );
    assert!(refusal.reason.contains("npc-transform"), "{refusal}");

    let refusal = refused(&fixture("unknown-import"));
    assert_eq!(refusal.step, Step::Imports);
    assert!(refusal.reason.contains("fixture:unknown/files"), "{refusal}");

    let core_module = b"\0asm\x01\0\0\0";
    for bytes in [&b""[..], b"hello", core_module] {
        assert_eq!(refused(bytes).step, Step::Parse);
    }
    assert!(slot.current().is_none());
}

#[test]
fn a_truncated_component_is_refused_wherever_it_is_cut() {
    let loader = loader(None);
    let slot = empty_slot::<rate_limit::Bound>();
    let whole = SlotName::RateLimit.bundled();
    for cut in (1..whole.len()).step_by(97) {
        assert!(load(&slot, &loader, &whole[..cut]).is_err(), "cut at {cut}");
    }
}

#[test]
fn damaged_components_never_panic() {
    let loader = loader(None);
    let slot = empty_slot::<rate_limit::Bound>();
    let whole = SlotName::RateLimit.bundled();
    for at in (8..whole.len()).step_by(whole.len() / 12) {
        let mut bytes = whole.to_vec();
        bytes[at] ^= 0xff;
        let _either_way = load(&slot, &loader, &bytes);
    }
}

#[test]
fn compiled_code_is_found_again_and_only_when_it_is_ours() {
    let data = tempfile::tempdir().unwrap();
    let loader = loader(None);
    let (engine, bytes) = (&loader.engine, SlotName::RateLimit.bundled());
    let name = digest(bytes);
    let origin = || {
        Cache::open(data.path())
            .unwrap()
            .component(engine, SlotName::RateLimit, &name, bytes)
            .unwrap()
            .1
    };
    assert_eq!(origin(), Origin::Compiled);
    assert_eq!(origin(), Origin::Cached);

    let folder = data.path().join("compiled");
    let mode = std::fs::metadata(folder.join("key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let kept = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|ending| ending == "cwasm"))
        .unwrap();
    let mut code = std::fs::read(&kept).unwrap();
    let middle = code.len() / 2;
    code[middle] ^= 1;
    std::fs::write(&kept, &code).unwrap();
    assert_eq!(origin(), Origin::Compiled, "a changed file is not loaded");
    assert_eq!(origin(), Origin::Cached);

    std::fs::write(&kept, b"short").unwrap();
    assert_eq!(origin(), Origin::Compiled);
    std::fs::write(folder.join("key"), [7; 32]).unwrap();
    assert_eq!(origin(), Origin::Compiled, "code of another key is not loaded");

    let renamed = folder.join(
        kept.file_name()
            .unwrap()
            .to_string_lossy()
            .replacen(&name, &digest(b"other"), 1),
    );
    std::fs::rename(&kept, renamed).unwrap();
    let other = Cache::open(data.path())
        .unwrap()
        .component(engine, SlotName::RateLimit, &digest(b"other"), bytes)
        .unwrap()
        .1;
    assert_eq!(other, Origin::Compiled, "code of another component is not loaded");
}

#[test]
fn what_a_slot_used_last_is_kept_whatever_other_slots_use() {
    let data = tempfile::tempdir().unwrap();
    let cache = Cache::open(data.path()).unwrap();
    let name = |slot: SlotName, number: usize| format!("{}-{number}.component", slot.as_str());
    cache.keep(&name(SlotName::RateLimit, 0), b"kept").unwrap();
    let earlier = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
    for number in 0..2 * limits::COMPILED_FILES {
        let name = name(SlotName::HostSelection, number);
        cache.keep(&name, b"another").unwrap();
        let path = data.path().join("compiled").join(name);
        let file = std::fs::File::options().write(true).open(path).unwrap();
        let later = std::time::Duration::from_secs(number as u64);
        file.set_modified(earlier + later).unwrap();
    }
    assert!(cache.kept(&name(SlotName::RateLimit, 0)).is_some());
    let last = 2 * limits::COMPILED_FILES - 1;
    for (number, there) in [
        (0, false),
        (limits::COMPILED_FILES / 2, false),
        (limits::COMPILED_FILES + 2, true),
        (last, true),
    ] {
        let kept = cache.kept(&name(SlotName::HostSelection, number));
        assert_eq!(kept.is_some(), there, "{number}");
    }
}

#[test]
fn wasi_is_linked_and_known_by_name() {
    let loader = loader(None);
    let mut linker = wasmtime::component::Linker::<GuestState<()>>::new(loader.engine.get());
    wasi::link(&mut linker).unwrap();
    assert!(wasi::is_known("wasi:cli/environment@0.2.3"));
    for stranger in [
        "wasi:http/outgoing-handler@0.2.3",
        "wasi:cli/environment@0.3.0",
        "wasi:cli/environment",
    ] {
        assert!(!wasi::is_known(stranger), "{stranger}");
    }
}

#[test]
fn an_outline_names_the_slot() {
    for slot in SlotName::ALL {
        assert_eq!(Outline::parse(slot.bundled()).unwrap().slot(), Some(slot));
    }
    assert_eq!(Outline::parse(&fixture("wrong-world")).unwrap().slot(), None);
    assert_eq!(Source::Bundled.shown(), "bundled");
}
