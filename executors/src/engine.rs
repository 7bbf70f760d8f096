//! The engine `native`: this project's own data plane.

use journal::{Effect, Finding, PhaseName, State, Step};

use crate::seams::{Engine, Observed};
use crate::steps::{self, StepContext};

/// Plans every step in terms of this project's own copy, verification, replication and apply.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct NativeEngine;

impl Engine for NativeEngine {
    fn plan(
        &self,
        phase: &PhaseName,
        step: Step,
        state: &State,
        seen: &Observed,
    ) -> Result<Vec<Effect>, Finding> {
        let ctx = StepContext::new(phase, state, seen)?;
        let mut effects = steps::probe_anew::plan(&ctx, step);
        effects.extend(match step {
            Step::Preflight => steps::preflight::plan(&ctx),
            Step::PrepareSource => steps::prepare_source::plan(&ctx),
            Step::PrepareTarget => steps::prepare_target::plan(&ctx),
            Step::Load => steps::load::plan(&ctx),
            Step::CatchUp => steps::catch_up::plan(&ctx),
            Step::VerifyLoad => steps::verify_load::plan(&ctx),
            Step::FinalizeSchema => steps::finalize_schema::plan(&ctx),
            Step::Replicate => steps::replicate::plan(&ctx),
            Step::PrepareSwitch => steps::prepare_switch::plan(&ctx),
            Step::StopTraffic => steps::stop_traffic::plan(&ctx),
            Step::FenceSource => steps::fence_source::plan(&ctx),
            Step::FenceTarget => steps::fence_target::plan(&ctx),
            Step::Drain => steps::drain::plan(&ctx),
            Step::DrainFailback => steps::drain_failback::plan(&ctx),
            Step::VerifyDelta => steps::verify_delta::plan(&ctx),
            Step::SwitchTraffic => steps::switch_traffic::plan(&ctx),
            Step::SwitchTrafficBack => steps::switch_traffic_back::plan(&ctx),
            Step::StopFailback => steps::stop_failback::plan(&ctx),
            Step::CleanUp => steps::clean_up::plan(&ctx),
            Step::VerifyFull => steps::verify_full::plan(&ctx),
            Step::Undo => steps::undo::plan(&ctx),
            Step::DrainAvailable => steps::drain_available::plan(&ctx),
            Step::DeclareLoss => steps::declare_loss::plan(&ctx),
        }?);
        Ok(effects)
    }

    fn undo(&self, phase: &PhaseName, state: &State) -> Result<Vec<Effect>, Finding> {
        let seen = Observed::default();
        Ok(steps::undo::whole(&StepContext::new(phase, state, &seen)?))
    }
}
