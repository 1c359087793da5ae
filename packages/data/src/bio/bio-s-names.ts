import { words } from './form.js';

/** 400 first names. */
export const FIRST_NAMES = words(`
  Abigail Ada Adam Adele Adrian Agnes Aidan Alan Albert Alejandro Alexander Alfred Alice Alina Allison Alma Alvin
  Amanda Amber Amelia Amos Amy Ana Andre Andrew Angela Anita Anna Annette Anthony Antonio April Arielle Arlene Arnold
  Arthur Ashley Astrid Audrey August Aurora Ava Barbara Barry Basil Beatrix Belinda Benjamin Bernard Bernice Bertha
  Beth Betty Beverly Bianca Blake Bonnie Boris Bradley Brandon Brenda Brendan Brent Brian Bridget Brooke Bruce Bruno
  Bryce Caitlin Calvin Camille Carl Carla Carlos Carmen Carol Caroline Carrie Casey Cassandra Catherine Cecilia Cedric
  Celeste Chad Charles Charlotte Chelsea Chester Christian Christine Christopher Claire Clara Clarence Claudia Clayton
  Clifford Clinton Clyde Colin Colleen Connor Constance Cora Corey Courtney Craig Crystal Curtis Cynthia Daisy Damian
  Daniel Danielle Darius Darlene Darren David Dawn Deborah Dennis Derek Desmond Diana Diego Dolores Dominic Donald
  Donna Dora Doris Dorothy Douglas Duane Dustin Dwight Earl Edgar Edith Edmund Eduardo Edward Edwin Eileen Elaine
  Eleanor Elena Eli Elijah Elizabeth Ella Ellen Elmer Elsa Elsie Emil Emily Emma Enrique Eric Erica Erin Ernest Esther
  Ethan Ethel Eugene Eva Evan Evelyn Everett Faith Faye Felicia Felix Fernando Florence Floyd Frances Francis Frank
  Franklin Frederick Gabriel Gail Gary Gemma Genevieve George Gerald Geraldine Gertrude Gilbert Gina Gladys Glen
  Gloria Gordon Grace Graham Grant Gregory Greta Guy Gwendolyn Hannah Harold Harriet Harry Harvey Hazel Heather Hector
  Heidi Helen Henry Herbert Herman Holly Homer Hope Howard Hubert Hugh Hugo Ian Ida Igor Imogen Ingrid Irene Iris Irma
  Isabel Isaiah Ivan Ivy Jack Jacob Jacqueline Jade Jake James Jamie Jane Janet Janice Jared Jasmine Jason Jasper
  Javier Jean Jeffrey Jennifer Jeremy Jerome Jesse Jessica Jill Joan Joel John Jonathan Jordan Jorge Joseph Joshua
  Josie Joyce Juan Judith Julia Julian Juliet June Justin Kara Karen Karl Kate Katherine Kathleen Kayla Keith Kelly
  Kenneth Kerry Kimberly Kirk Kurt Kyle Lance Lara Larry Laura Lauren Laurence Leah Lee Leila Lena Leo Leon Leonard
  Leroy Leslie Lester Lewis Liam Lillian Linda Lionel Lisa Lloyd Logan Lois Loretta Lorraine Louis Louise Lucas Lucia
  Lucille Lucy Luis Luke Luther Lydia Lyle Mabel Madeline Maggie Malcolm Marcia Margaret Maria Marian Marie Marilyn
  Mario Marjorie Mark Marlene Marsha Martha Martin Marvin Mary Mason Matilda Matthew Maureen Maurice Max Maxine Megan
  Melanie Melinda Melissa Melvin Mercedes Michael Michelle Miguel Mildred Miles Milton Mindy Miranda Miriam Mitchell
  Molly Mona Monica Morgan Muriel Myra Myron Nancy Naomi Natalie Nathan Neil Nelson Nicholas Nicole Nigel Nina Noah
  Nora Norman Olga Olive Olivia Oscar Otto Owen
`);

/** 120 middle names that are not first names here. */
const OTHER_MIDDLE_NAMES = words(`
  Ainsley Alder Amari Anders Arden Ashby Auden Avery Bailey Bellamy Birch Blaine Bowen Brantley Briar Brock Bryn Cade
  Callum Campion Carlisle Cassius Cedar Chance Clement Cleo Coral Corbin Cyrus Dale Dane Darcy Dean Devon Dion Dorian
  Eden Elara Elowen Ember Emery Enoch Ezra Fidel Fleur Flynn Gale Garnet Gideon Giles Hadley Haven Heath Hollis
  Hyacinth Idris Ione Ira Isolde Jericho Joaquin Jonas Jonquil Juniper Justice Keaton Keegan Kit Lake Lane Larkin
  Laurel Leander Linden Lorne Lowell Lux Mae Magnus Maple Maxwell Mercy Merrill Micah Misty Nash Nell Niall Nova
  Oakley Octavia Odell Opal Orion Pax Pearl Perry Phoebe Poppy Porter Primrose Rain Raine Ramona Reed Reeve Remy Rhett
  Rhys Ridge River Robin Rowan Rue Rufus Sable Sage Saul Scout Shane
`);

/** 400 middle names: 280 of the first names, as names are in life, and 120 others. */
export const MIDDLE_NAMES: readonly string[] = [...FIRST_NAMES.filter((_, i) => i % 10 < 7), ...OTHER_MIDDLE_NAMES];

/** 1000 last names. */
export const LAST_NAMES = words(`
  Aaronson Abernathy Abrams Ackerman Acosta Adair Adkins Aguilar Ahmed Albrecht Aldridge Alford Allard Allen Alston
  Alvarado Alvarez Amundsen Anderson Andrade Andrews Anglin Ansley Appleton Aragon Archibald Arellano Armstrong Arnett
  Arrington Ashcroft Ashford Ashworth Atkins Atkinson Aubrey Avila Ayers Babcock Baca Bader Bagley Baird Baker Ballard
  Banks Barajas Barber Barclay Barker Barnard Barnett Barrera Barrett Barrios Barron Barton Bates Bauer Baxter Beale
  Beard Beasley Beatty Beckett Bedford Belcher Bell Beltran Bender Benitez Bentley Berg Berger Bergman Bernal Berry
  Best Biggs Billings Bingham Bishop Blackburn Blackwell Blanchard Bledsoe Blevins Bloom Blount Blum Boggs Bond
  Bonilla Booker Boone Booth Borden Bowers Bowman Boyce Boyd Boyer Boyle Brackett Bradford Brady Branch Brandt Braun
  Bravo Bray Brennan Brewer Bridges Briggs Bright Briscoe Britton Brogan Bronson Brooks Broussard Brown Browning
  Brubaker Bryant Buchanan Buckley Buckner Bueno Bullock Burch Burke Burkett Burnett Burns Burris Burton Bush Byers
  Byrd Byrne Caballero Cabrera Cahill Caldwell Calhoun Callahan Camacho Cameron Campbell Campos Cantrell Cantu
  Cardenas Carey Carlson Carlton Carmichael Carpenter Carr Carranza Carrillo Carroll Carson Carter Case Cash Castaneda
  Castillo Castro Cervantes Chambers Chan Chandler Chang Chapman Chavez Chen Childs Chisholm Choi Christensen Chu
  Chung Church Clancy Clark Clarke Clay Clements Cleveland Cline Cochran Coffey Cohen Colbert Coleman Collier Colon
  Combs Compton Conner Conrad Contreras Conway Cooke Cooley Cooper Copeland Cordova Cornell Corona Cortez Costa
  Costello Cotton Coughlin Covington Cowan Crabtree Cramer Crane Crawford Creighton Crenshaw Crosby Cross Crowder
  Crowe Crowley Cruz Culbertson Cummings Cunningham Curran Currie Cushing Dahl Daley Daniels Darby Daugherty Davenport
  Davidson Davies Davila Dawson Deal Decker Delacruz Delaney Deleon Dempsey Denton Devine Devlin Diaz Dickens
  Dickerson Dillard Dillon Dixon Dobbs Dodd Dodson Doherty Dominguez Donahue Donaldson Donnelly Donovan Dorsey Dotson
  Downey Downing Downs Doyle Drake Draper Drummond Duarte Dubois Dudley Duffy Dugan Duke Dunham Dunlap Dunn Duran
  Durant Durham Dutton Dwyer Dyer Eaton Eberhardt Eckert Edmonds Edwards Elder Eldridge Elkins Elliott Ellison
  Ellsworth Engel English Enriquez Erickson Escobar Espinoza Esposito Estrada Eubanks Evans Ewing Fairbanks Fairchild
  Falcon Farmer Farrell Faulkner Feldman Felton Ferguson Fernandez Ferrell Field Figueroa Finch Finley Finn Fisher
  Fitzgerald Fitzpatrick Flanagan Fleming Flores Flowers Fontaine Forbes Ford Foreman Forrest Forsythe Foster Fox
  Frazier Freeman French Frey Friedman Fritz Frye Fuentes Fuller Fulton Gaines Galindo Gallegos Galloway Galvan Gamble
  Garber Garcia Gardner Garrett Garrison Garza Gates Gentry Gibson Gifford Gillespie Gilliam Gilmore Glass Gleason
  Glenn Glover Goldberg Golden Goldman Gomez Gonzalez Good Goodman Goodwin Gorman Gould Grady Graves Gray Greenberg
  Greenwood Greer Griffin Griffith Grimes Grossman Guerra Guerrero Guthrie Gutierrez Guzman Haas Hackett Hahn Hale
  Haley Hall Halsey Hamilton Hammond Hancock Hanley Hanna Hansen Hanson Hardin Hardy Harlan Harmon Harrell Harrington
  Harris Harrison Hartley Hartman Hastings Hatch Hatcher Hatfield Hathaway Hayes Haynes Hays Healy Hebert Henderson
  Hendricks Hensley Henson Herman Hernandez Herrera Herring Hester Hewitt Hickey Hickman Hicks Higgins Hightower Hines
  Hinton Hobbs Hodge Hodges Hoffman Hogan Holcomb Holden Holder Holland Hollis Holloman Holmes Hood Hooper Hoover
  Hopkins Hopper Horn Horton Houston Howe Howell Hubbard Huber Huddleston Huerta Huff Huffman Hughes Hull Humphrey
  Hunt Hurley Hurst Hutchinson Huynh Hyde Ibarra Iverson Jacobs Jacobson Jaramillo Jefferson Jenkins Jennings Jewell
  Jimenez Johns Johnson Johnston Jones Joyner Judd Kaiser Kane Kaplan Kaufman Kearney Keating Keller Kemp Kendrick
  Kennedy Kent Kerr Kessler Kidd Kim Kimball King Kinney Kirkland Klein Kline Knapp Knight Knowles Knox Koch Krause
  Krueger Kuhn Lacey Lam Lamb Lancaster Lang Langley Langston Lara Larkin Larsen Lassiter Lattimore Lawler Lawrence
  Leach Leblanc Ledford Lennon Lentz Leonard Levine Levy Lim Lin Lindsay Lindsey Linton Little Livingston Locke
  Lockhart Lomax London Long Lopez Lott Love Lovell Lowry Lozano Lucero Lugo Lujan Luna Lutz Lynch Lynn Lyons
  Macdonald Macias Mack Maddox Madison Magee Maguire Mahoney Maldonado Malone Marin Marks Marquez Marsh Marshall
  Martinez Massey Mathis Maxwell Mayer Maynard Mayo Mays Mcbride Mccabe Mccall Mccarthy Mcclain Mcclure Mcconnell
  Mccoy Mccullough Mcdaniel Mcdonald Mcdowell Mcfadden Mcfarland Mcgrath Mcguire Mcintosh Mcintyre Mckay Mckee Mckenna
  Mckinley Mclaughlin Mclean Mcleod Mcmahon Mcmillan Mcneil Mead Meadows Medina Mejia Melendez Melton Mendoza Mercado
  Merritt Meyer Middleton Miller Mills Molina Monahan Montes Montgomery Montoya Moody Moon Moore Mora Morales Moran
  Moreno Morris Morrison Morse Morton Moses Mosley Moss Moyer Mullen Mullins Munoz Murdock Murillo Murphy Murray Nance
  Napier Navarro Neal Nesbitt Newell Newman Nguyen Nichols Nielsen Nieves Nixon Noble Noel Noonan Norris Norton Novak
  Nunez Obrien Oconnell Oconnor Odom Odonnell Ogden Oliver Olsen Oneal Orozco Orr Ortega Ortiz Osborn Osorio Pace
  Pacheco Padilla Page Palmer Park Parks Parsons Pate Patel Patrick Patterson Patton Paxton Payne Pearce Pearson Peck
  Pena Pennington Perkins Perreault Peters Petersen Peterson Petty Phelps Pickett Pierce Pierson Pike Pineda Piper
  Pitts Polk Pollard Pope Porter Portillo Posey Potts Powell Powers Pratt Preston Price Prince Pugh Purcell Putnam
  Quigley Quintana Quintero Rafferty Ramirez Ramos Randall Randolph Rangel Rankin Rasmussen Rawlings Ray Raymond
  Redmond Reeves Reid Reyes Reynolds Rhodes Rice Rich Richards Richardson Riddle Riggs Riley Rios Ritter Rivas Rivera
  Roach Robbins Roberson Roberts Robertson Robinson Robles Rockwell Rodgers Rodriguez Rogers Rojas Rollins Romero Romo
  Rooney Root Rosales Rosario Rosenberg Roth Rowe Rowland Roy Rubin Rucker Rudolph Rush Rushing Russell Russo
  Rutherford Rutledge Ryan Salas Salazar Salgado Salinas Samuels Sanchez Sandoval Sanford Santana Santiago Santos
  Sargent Saunders Sawyer Saxton Schaefer Schmidt Schneider Schroeder Schultz Scott Sears Seaton Segura Sellers
  Serrano Sewell Seymour Shaffer Shannon Shapiro Sharp Shaw Shepard Sheridan Sherman Shields Short Siegel Sierra
  Simmons Simon Simpson Sims Sinclair Singer Singh Skinner Slater Sloan Small Smart Smith Snider Snyder Solano Solis
  Solomon Sosa Soto Sparks Spencer Springer Stafford Stallings Stanford Stanley Stark Starr Steele Stein Stephens
  Sterling Stevens Stewart Stiles Stokes Stone Stout Stratton Strickland Stuart Suarez Sullivan Summers Sumner
  Sutherland Swain Sweeney Sweet Swift Sykes Talley Tate Temple Terrell Thomas Thompson Thornton Tibbetts Tillman Todd
  Torres Townsend Tran Travis Trevino Trujillo Turner Tuttle Tyler Tyson Underwood Valdez Valencia Vance Vargas
  Vasquez Vaughan Vega Velasco Vincent Vogel Wade Wagner Walker Wallace Waller Walter Ward Ware Warner Warren
  Washington Waters Watson Watts Weaver Webb Weber Webster Weeks Welch Wells Werner West Wheeler Whitehead Whitley
  Whitney Wiggins Wilcox Wilder Wiley Wilkins Williams Williamson Willis Wilson Winters Wise Wolfe Woodard Woods
  Woodward Wooten Wright Wyatt Yang Zamora Zapata Zimmerman
`);
