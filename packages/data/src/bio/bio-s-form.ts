import { BIRTH_CITIES } from './bio-s-cities.js';
import { EMPLOYERS, SEATS } from './bio-s-employers.js';
import { MAJORS } from './bio-s-majors.js';
import { FIRST_NAMES, LAST_NAMES, MIDDLE_NAMES } from './bio-s-names.js';
import { BIO_S_TEMPLATES } from './bio-s-templates.js';
import { UNIVERSITIES } from './bio-s-universities.js';
import { type BioForm, DAYS, MONTHS, years } from './form.js';

/** The pools and sentences of bioS. */
export const BIO_S_FORM: BioForm = {
  first: FIRST_NAMES,
  middle: MIDDLE_NAMES,
  last: LAST_NAMES,
  months: MONTHS,
  days: DAYS,
  years: years(1900, 200),
  birthCities: BIRTH_CITIES,
  universities: UNIVERSITIES,
  majors: MAJORS,
  employers: EMPLOYERS,
  seats: SEATS,
  templates: BIO_S_TEMPLATES,
};
