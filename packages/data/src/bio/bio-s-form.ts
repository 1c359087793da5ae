import type { BioForm } from './form.js';
import { MINI_FORM } from './mini-form.js';
export const BIO_S_FORM: BioForm = MINI_FORM;
