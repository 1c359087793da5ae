export { currentEnvironment, type Environment } from './environment.js';
export { capacityTwoBits } from './laws/capacity/capacity-two-bits.js';
export { lawNamed, laws, lawsDecidedBy, lawsOfPart, lawsOfRecipe, scalesOf } from './laws/index.js';
export {
  boundText,
  criterion,
  type Law,
  type LawComparison,
  type LawMeasurement,
  type LawMember,
  type LawScale,
  type Measurement,
  type Verdict,
} from './laws/law.js';
export {
  combineSeeds,
  type LawReport,
  type LedgerRow,
  type LedgerRun,
  lawReport,
  lawReports,
  ledgerFolder,
  membersOf,
  mergeRun,
  readLedgerRow,
  recordLaw,
} from './laws/ledger.js';
export { type Checkpoint, type CheckpointUse, openCheckpoint } from './open-checkpoint.js';
export { type CapacityExperiment, type CapacityParameters, capacity, capacityScales } from './recipes/capacity.js';
export { type CapacityData, type CapacityDataConfig, openCapacityData } from './recipes/capacity-data.js';
export { recipeNamed, recipes, scaleNamed } from './recipes/index.js';
export {
  type Aborted,
  type Execution,
  type Expectation,
  type Experiment,
  type Interval,
  type Recipe,
  type RecipeOptions,
  type RecipeSweep,
  type Results,
  type RunContext,
  runName,
  type ScaleName,
  scaleNames,
} from './recipes/recipe.js';
export { openWindows, type WindowOptions } from './recipes/windows.js';
export {
  type BarFigure,
  type Figure,
  figureData,
  type HeatFigure,
  type IntervalFigure,
  type LineFigure,
  type ReportDocument,
  type Table,
} from './report/document.js';
export { type Judgement, type RenderedReport, renderReport } from './report/html.js';
export { probeHeat } from './report/probe-heat.js';
export { renderSvg } from './report/svg.js';
export { type CapacityResults, type ItemLoss, runCapacity } from './run-capacity.js';
export {
  type FinishedRun,
  judge,
  openFinishedRun,
  type RunOutcome,
  runFolder,
  runRecipe,
  writeReport,
} from './run-recipe.js';
export { type LedgerSiteOptions, writeLedgerSite } from './site/ledger-site.js';
export { type Curve, type Findings, findingsOf, guessFit, type MeasuredMember } from './sweep/findings.js';
export { type FitRequest, type PowerFit, parseFit, powerFit } from './sweep/fit.js';
export { type GridAxis, type GridPoint, gridPoints, parseGrid } from './sweep/grid.js';
export { type ManifestMember, readManifestMember, writeManifest } from './sweep/manifest.js';
export { type MemberState, memberState } from './sweep/member-state.js';
export { planSweep, type SweepMember, type SweepOptions, type SweepPlan } from './sweep/plan.js';
export { type Job, type JobEnd, type PoolProgress, runPool } from './sweep/pool.js';
export { parseTasks, type SlurmJob, type SlurmTask, slurmScript } from './sweep/slurm.js';
export { type MemberOutcome, sweepCsv, sweepJson } from './sweep/tables.js';
