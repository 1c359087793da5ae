export { joinRanks } from './join-ranks.js';
export { stayAway } from './rank-pipes.js';
export { type RankPlan, type Ranks, rankPlan, soleRank } from './ranks.js';
export { type MetricsRecord, type OpenMode, RunDirectory } from './run-directory.js';
export { learningRateFraction, type ScheduleConfig } from './schedule.js';
export { StepProgram, type StepResult, type TrainingWindows } from './step-program.js';
export { checkTrainConfig, type OptimizerConfig, type TrainConfig } from './train-config.js';
export { type Progress, type TrainOptions, type TrainResult, train } from './trainer.js';
export { type WindowOpener, WindowWorkers } from './window-workers.js';
