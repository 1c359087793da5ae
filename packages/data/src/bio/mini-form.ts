import { type BioForm, DAYS, lines, MONTHS, templates, words, years } from './form.js';

const BIRTH_CITIES = lines(`
  Fresno, CA
  Oakland, CA
  Sacramento, CA
  Anaheim, CA
  Austin, TX
  Dallas, TX
  Houston, TX
  Laredo, TX
  Buffalo, NY
  Syracuse, NY
  Albany, NY
  Yonkers, NY
  Miami, FL
  Tampa, FL
  Orlando, FL
  Jacksonville, FL
  Cleveland, OH
  Columbus, OH
  Toledo, OH
  Dayton, OH
  Chicago, IL
  Peoria, IL
  Rockford, IL
  Joliet, IL
  Seattle, WA
  Tacoma, WA
  Spokane, WA
  Olympia, WA
  Atlanta, GA
  Savannah, GA
  Macon, GA
  Augusta, GA
  Denver, CO
  Boulder, CO
  Pueblo, CO
  Greeley, CO
  Detroit, MI
  Lansing, MI
  Flint, MI
  Saginaw, MI
  Philadelphia, PA
  Pittsburgh, PA
  Scranton, PA
  Erie, PA
  Phoenix, AZ
  Tucson, AZ
  Mesa, AZ
  Tempe, AZ
  Portland, OR
  Salem, OR
  Eugene, OR
  Bend, OR
  Richmond, VA
  Norfolk, VA
  Roanoke, VA
  Hampton, VA
  Minneapolis, MN
  Duluth, MN
  Rochester, MN
  Mankato, MN
`);

const UNIVERSITIES = words(
  'Ashgrove Bellmont Crestview Danforth Eastmoor Fairhaven Glenmore Harwick Kingsbury Linwood',
).flatMap((place) =>
  words('University College Institute Academy Polytechnic Seminary').map((kind) => `${place} ${kind}`),
);

const EMPLOYERS = words(`
  Altivox Bramcor Calystra Dynovate Elmtek Fernwave Gridlane Halcyra Inkwell Jetsonic
  Kelvara Lumetra Mapletech Northbeam Orbisoft Pellucid Quantrel Rivermark Solvane Tidewell
  Umbracorp Vantiq Westora Xylogen Yarrowtech Zephyria Arborline Brightmill Coppergate Driftwood
  Evermint Foxglove Granitex Harborline Ironclad Junipero Kitewing Lanternix Moonstone Nimbuscorp
  Oakmere Paperjet Quillworks Redstone Silverleaf Thornbury Upland Verdigris Windmere Yellowtail
  Anchorage Bluefin Clearwater Dovetail Emberly Flintlock Goldcrest Hearthside Islandia Jadeworks
`);

/** The city with the most seats: 9 of 60 employers, 15 %. */
const CAPITAL = 'Chicago, IL';

/** Employers in the capital are spread evenly over the list; the others take every second city in turn. */
const SEATS = EMPLOYERS.map((_, i) =>
  i % 7 === 3 ? CAPITAL : BIRTH_CITIES.filter((city, j) => city !== CAPITAL && j % 2 === 0)[(i * 11) % 29]!,
);

/**
 * The small form. The last word before a value belongs to that attribute alone and stands nowhere else (`on` a birth
 * date, `from` a birth city, `at` a university, `study` or `about` a major, `for` or `by` an employer, `in` a work city):
 * from the words before it a reader knows that the value starts now, so the loss of a value holds nothing of the templates.
 */
export const MINI_FORM: BioForm = {
  first: words(`
    Aaron Beatrice Caleb Daphne Elias Fiona Gavin Helena Isaac Joanna
    Kevin Lydia Marcus Nadine Oscar Paula Quentin Rosa Stefan Teresa`),
  middle: words(`
    Alden Blair Cody Drew Ellis Finley Greer Harper Indigo Jules
    Kendall Lane Marlow Noel Ocean Parker Quinn Reese Sage Tatum`),
  last: words(`
    Abbott Barlow Carver Dalton Easton Fletcher Garner Hawkins Ingram Jarvis
    Keller Lambert Mercer Norwood Osborne Prescott Quimby Ramsey Sawyer Thatcher
    Underhill Vickers Walton Yates Zimmer Archer Benson Conley Driscoll Emerson
    Farrow Gibbs Holloway Irving Jensen Kirby Lawson Monroe Nolan Overton
    Pruitt Ridley Sutton Tanner Upshaw Vaughn Whitaker York Atwood Becker`),
  months: MONTHS,
  days: DAYS,
  years: years(1950, 50),
  birthCities: BIRTH_CITIES,
  universities: UNIVERSITIES,
  majors: words(`
    Biology Chemistry Physics Mathematics Statistics Economics History Philosophy Psychology Sociology
    Anthropology Geology Geography Linguistics Astronomy Botany Zoology Genetics Ecology Nursing
    Accounting Marketing Finance Journalism Architecture Music Theatre Law Medicine Engineering`),
  employers: EMPLOYERS,
  seats: SEATS,
  templates: {
    birthDate: templates(`
      was born on {}
      arrived on {}
      came along on {}
      first cried on {}
      entered life on {}
      began life on {}
      was delivered on {} exactly
      drew first breath on {}
    `),
    birthCity: templates(`
      comes from {}
      hails from {}
      came from {}
      is originally from {}
      is proudly from {}
      sprang from {} originally
      was brought from {}
      traces childhood roots from {}
    `),
    university: templates(`
      studied at {}
      trained at {}
      was taught at {}
      took classes at {}
      finished school at {}
      spent years at {} happily
      was educated at {}
      earned top marks at {}
    `),
    major: templates(`
      chose to study {}
      loved to study {}
      went to study {}
      learned about {}
      knows about {}
      wrote essays about {}
      passed exams about {}
      read books about {} daily
    `),
    employer: templates(`
      works for {}
      was hired by {}
      is employed by {}
      worked for {}
      is paid by {}
      was recruited by {}
      toils for {} weekdays
      handles tricky projects for {}
    `),
    workCity: templates(`
      works in {}
      has offices in {}
      commutes in {}
      is employed in {}
      keeps a desk in {}
      earns money in {}
      has work in {} now
      labours in {}
    `),
  },
};
