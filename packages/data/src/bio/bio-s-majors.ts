import { lines } from './form.js';

/** 100 majors, about half of one word. */
export const MAJORS = lines(`
  Accounting
  Acoustics
  Actuarial Science
  Aerospace Engineering
  Agronomy
  Animal Science
  Anthropology
  Applied Mathematics
  Archaeology
  Architecture
  Art History
  Asian Studies
  Astronomy
  Astrophysics
  Athletic Training
  Biochemistry
  Bioinformatics
  Biology
  Biomedical Engineering
  Botany
  Broadcast Journalism
  Business Administration
  Chemical Engineering
  Chemistry
  Civil Engineering
  Classics
  Cognitive Science
  Communication
  Comparative Literature
  Computer Engineering
  Computer Science
  Construction Management
  Creative Writing
  Criminology
  Culinary Arts
  Cybersecurity
  Dance
  Data Science
  Dental Hygiene
  Early Childhood Education
  Ecology
  Economics
  Electrical Engineering
  Elementary Education
  English
  Entrepreneurship
  Environmental Engineering
  Environmental Science
  Fashion Design
  Film Studies
  Finance
  Fine Arts
  Food Science
  Forensic Science
  Forestry
  French
  Genetics
  Geography
  Geology
  German
  Graphic Design
  Health Administration
  History
  Horticulture
  Hospitality Management
  Human Resources
  Industrial Engineering
  Information Systems
  Interior Design
  International Relations
  Journalism
  Kinesiology
  Landscape Architecture
  Linguistics
  Marine Biology
  Marketing
  Materials Science
  Mathematics
  Mechanical Engineering
  Meteorology
  Microbiology
  Music
  Neuroscience
  Nuclear Engineering
  Nursing
  Nutrition
  Oceanography
  Operations Research
  Petroleum Engineering
  Pharmacology
  Philosophy
  Physics
  Political Science
  Psychology
  Public Health
  Sociology
  Spanish
  Statistics
  Urban Planning
  Zoology
`);
