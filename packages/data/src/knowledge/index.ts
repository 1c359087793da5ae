export { AUGMENTATIONS, type Augmentation, parseAugmentation } from './augmentation.js';
export { type BiographyEntries, type EntriesOptions, entries } from './entries.js';
export { hideAnswers } from './hide-answers.js';
export { type MixedPart, mixDocuments } from './mix-documents.js';
export { type Question, type Questions, type QuestionsOptions, questions } from './questions.js';
export { type PeopleSplit, requireApart, splitPeople } from './split.js';
export { luckiness, nPeopleOf, TASK_FAMILIES, TASKS, type Task, tasksNamed } from './tasks.js';
export { knowledgeGpt2, knowledgeWords } from './vocabulary.js';
