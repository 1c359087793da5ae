import { lines } from './form.js';

/** 300 universities and colleges; 111 begin with the word University, as in the papers' population. */
export const UNIVERSITIES = lines(`
  University of Akron
  University of Alabama
  University of Arizona
  University of Arkansas
  University of Baltimore
  University of Bridgeport
  University of California, Berkeley
  University of California, Davis
  University of California, Irvine
  University of California, Los Angeles
  University of California, Merced
  University of California, Riverside
  University of California, San Diego
  University of California, Santa Barbara
  University of California, Santa Cruz
  University of Charleston
  University of Chicago
  University of Cincinnati
  University of Colorado, Boulder
  University of Colorado, Denver
  University of Connecticut
  University of Dallas
  University of Dayton
  University of Delaware
  University of Denver
  University of Detroit
  University of Dubuque
  University of Evansville
  University of Florida
  University of Georgia
  University of Hartford
  University of Hawaii
  University of Houston
  University of Idaho
  University of Illinois, Chicago
  University of Illinois, Springfield
  University of Indianapolis
  University of Iowa
  University of Kansas
  University of Kentucky
  University of Louisiana, Lafayette
  University of Louisiana, Monroe
  University of Louisville
  University of Maine
  University of Maryland
  University of Massachusetts, Amherst
  University of Massachusetts, Boston
  University of Massachusetts, Lowell
  University of Memphis
  University of Miami
  University of Michigan, Ann Arbor
  University of Michigan, Dearborn
  University of Michigan, Flint
  University of Minnesota, Duluth
  University of Minnesota, Minneapolis
  University of Mississippi
  University of Missouri, Columbia
  University of Missouri, Kansas City
  University of Mobile
  University of Montana
  University of Montevallo
  University of Nebraska, Kearney
  University of Nebraska, Lincoln
  University of Nebraska, Omaha
  University of Nevada, Las Vegas
  University of Nevada, Reno
  University of New England
  University of New Hampshire
  University of New Haven
  University of New Mexico
  University of New Orleans
  University of North Alabama
  University of North Dakota
  University of North Florida
  University of North Texas
  University of Northern Colorado
  University of Northern Iowa
  University of Oklahoma
  University of Oregon
  University of Pennsylvania
  University of Pikeville
  University of Pittsburgh
  University of Portland
  University of Redlands
  University of Rhode Island
  University of Richmond
  University of Rochester
  University of San Diego
  University of San Francisco
  University of Scranton
  University of South Alabama
  University of South Carolina
  University of South Dakota
  University of South Florida
  University of Southern Maine
  University of Southern Mississippi
  University of Tampa
  University of Tennessee
  University of Texas, Arlington
  University of Texas, Austin
  University of Texas, Dallas
  University of Texas, El Paso
  University of Toledo
  University of Tulsa
  University of Utah
  University of Vermont
  University of Virginia
  University of Washington
  University of West Florida
  University of Wisconsin, Madison
  University of Wisconsin, Milwaukee
  Allegheny College
  American University
  Amherst College
  Appalachian State University
  Arizona State University
  Arkansas State University
  Auburn University
  Austin College
  Baker University
  Bard College
  Barnard College
  Bates College
  Baylor University
  Bentley University
  Boise State University
  Boston College
  Boston University
  Bowdoin College
  Bowling Green State University
  Bradley University
  Brandeis University
  Brown University
  Bryant University
  Bucknell University
  Butler University
  California Institute of Technology
  California State University, Fresno
  California State University, Fullerton
  California State University, Long Beach
  California State University, Northridge
  California State University, Sacramento
  Carleton College
  Carnegie Mellon University
  Catholic University of America
  Central Connecticut State University
  Central Michigan University
  Central Washington University
  Clark University
  Clarkson University
  Clemson University
  Cleveland State University
  Coastal Carolina University
  Colby College
  Colgate University
  Colorado College
  Colorado School of Mines
  Colorado State University
  Columbia University
  Cornell College
  Cornell University
  Creighton University
  Dartmouth College
  Davidson College
  Drake University
  Drew University
  Drexel University
  Duke University
  East Carolina University
  East Tennessee State University
  Eastern Illinois University
  Eastern Kentucky University
  Eastern Michigan University
  Eastern Washington University
  Elon University
  Emory University
  Fairfield University
  Florida Atlantic University
  Florida Institute of Technology
  Florida International University
  Florida State University
  Fordham University
  George Mason University
  George Washington University
  Georgetown University
  Georgia Institute of Technology
  Georgia Southern University
  Georgia State University
  Gettysburg College
  Gonzaga University
  Grand Valley State University
  Grinnell College
  Hamilton College
  Harvard University
  Harvey Mudd College
  Hofstra University
  Howard University
  Idaho State University
  Illinois College
  Illinois Institute of Technology
  Illinois State University
  Indiana State University
  Indiana University, Bloomington
  Iowa State University
  Ithaca College
  Jackson State University
  James Madison University
  Johns Hopkins University
  Kansas State University
  Kent State University
  Knox College
  Lafayette College
  Lehigh University
  Louisiana State University
  Loyola University, Chicago
  Loyola University, New Orleans
  Macalester College
  Marquette University
  Marshall University
  Massachusetts Institute of Technology
  Miami University
  Michigan State University
  Michigan Technological University
  Middlebury College
  Mississippi State University
  Missouri State University
  Montana State University
  Morehouse College
  New Mexico State University
  New York University
  North Carolina State University
  North Dakota State University
  Northeastern University
  Northern Arizona University
  Northern Illinois University
  Northwestern University
  Oberlin College
  Ohio Northern University
  Ohio State University
  Ohio Wesleyan University
  Oklahoma State University
  Oregon Health Sciences University
  Oregon State University
  Pennsylvania State University
  Pepperdine University
  Pomona College
  Portland State University
  Princeton University
  Providence College
  Purdue University
  Reed College
  Rensselaer Polytechnic Institute
  Rice University
  Rochester Institute of Technology
  Rutgers University
  Saint Louis University
  Sam Houston State University
  San Diego State University
  San Francisco State University
  San Jose State University
  Santa Clara University
  Seton Hall University
  South Dakota State University
  Southern Illinois University
  Southern Methodist University
  Spelman College
  Stanford University
  Stony Brook University
  Swarthmore College
  Syracuse University
  Temple University
  Texas Christian University
  Texas Southern University
  Texas State University
  Texas Tech University
  Towson University
  Trinity College
  Tufts University
  Tulane University
  Utah State University
  Vanderbilt University
  Vassar College
  Villanova University
  Virginia Commonwealth University
  Virginia State University
  Wake Forest University
  Washington State University
  Wayne State University
  Wellesley College
  Wesleyan University
  West Virginia University
  Western Illinois University
  Western Michigan University
  Wichita State University
  Williams College
  Worcester Polytechnic Institute
  Wright State University
  Xavier University
  Yale University
  Youngstown State University
`);
