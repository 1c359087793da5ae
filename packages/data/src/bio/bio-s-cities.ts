import { lines } from './form.js';

/** 200 birth cities in 42 states. */
export const BIRTH_CITIES = lines(`
  Mobile, AL
  Birmingham, AL
  Huntsville, AL
  Montgomery, AL
  Tuscaloosa, AL
  Phoenix, AZ
  Tucson, AZ
  Mesa, AZ
  Chandler, AZ
  Scottsdale, AZ
  Flagstaff, AZ
  Little Rock, AR
  Fayetteville, AR
  Jonesboro, AR
  Los Angeles, CA
  San Diego, CA
  San Jose, CA
  San Francisco, CA
  San Bernardino, CA
  Fresno, CA
  Sacramento, CA
  Long Beach, CA
  Oakland, CA
  Bakersfield, CA
  Anaheim, CA
  Stockton, CA
  Riverside, CA
  Santa Ana, CA
  Santa Rosa, CA
  Santa Barbara, CA
  Irvine, CA
  Fremont, CA
  Modesto, CA
  Fontana, CA
  Glendale, CA
  Pasadena, CA
  Berkeley, CA
  Palo Alto, CA
  Denver, CO
  Boulder, CO
  Aurora, CO
  Pueblo, CO
  Colorado Springs, CO
  Greeley, CO
  Hartford, CT
  Bridgeport, CT
  Stamford, CT
  New Haven, CT
  Jacksonville, FL
  Miami, FL
  Tampa, FL
  Orlando, FL
  Tallahassee, FL
  Gainesville, FL
  Pensacola, FL
  Hialeah, FL
  Sarasota, FL
  Naples, FL
  Fort Lauderdale, FL
  Atlanta, GA
  Savannah, GA
  Macon, GA
  Augusta, GA
  Athens, GA
  Boise, ID
  Pocatello, ID
  Chicago, IL
  Peoria, IL
  Rockford, IL
  Joliet, IL
  Naperville, IL
  Springfield, IL
  Champaign, IL
  Indianapolis, IN
  Evansville, IN
  Bloomington, IN
  South Bend, IN
  Gary, IN
  Des Moines, IA
  Davenport, IA
  Dubuque, IA
  Cedar Rapids, IA
  Wichita, KS
  Topeka, KS
  Overland Park, KS
  Louisville, KY
  Lexington, KY
  Frankfort, KY
  New Orleans, LA
  Baton Rouge, LA
  Shreveport, LA
  Lafayette, LA
  Bangor, ME
  Portland, ME
  Baltimore, MD
  Annapolis, MD
  Rockville, MD
  Boston, MA
  Worcester, MA
  Cambridge, MA
  Lowell, MA
  Quincy, MA
  Detroit, MI
  Grand Rapids, MI
  Lansing, MI
  Flint, MI
  Kalamazoo, MI
  Ann Arbor, MI
  Minneapolis, MN
  Saint Paul, MN
  Duluth, MN
  Rochester, MN
  Jackson, MS
  Biloxi, MS
  Kansas City, MO
  Saint Louis, MO
  Joplin, MO
  Billings, MT
  Missoula, MT
  Bozeman, MT
  Omaha, NE
  Lincoln, NE
  Las Vegas, NV
  Reno, NV
  Henderson, NV
  Manchester, NH
  Nashua, NH
  Newark, NJ
  Trenton, NJ
  Hoboken, NJ
  Princeton, NJ
  Albuquerque, NM
  Roswell, NM
  Las Cruces, NM
  New York, NY
  Buffalo, NY
  Syracuse, NY
  Albany, NY
  Yonkers, NY
  Ithaca, NY
  Utica, NY
  Charlotte, NC
  Raleigh, NC
  Durham, NC
  Greensboro, NC
  Asheville, NC
  Columbus, OH
  Cleveland, OH
  Cincinnati, OH
  Toledo, OH
  Akron, OH
  Dayton, OH
  Canton, OH
  Oklahoma City, OK
  Tulsa, OK
  Norman, OK
  Salem, OR
  Eugene, OR
  Bend, OR
  Philadelphia, PA
  Pittsburgh, PA
  Allentown, PA
  Erie, PA
  Scranton, PA
  Providence, RI
  Warwick, RI
  Charleston, SC
  Greenville, SC
  Memphis, TN
  Nashville, TN
  Knoxville, TN
  Chattanooga, TN
  Houston, TX
  Dallas, TX
  Austin, TX
  El Paso, TX
  San Antonio, TX
  Fort Worth, TX
  Arlington, TX
  Laredo, TX
  Lubbock, TX
  Amarillo, TX
  Waco, TX
  Galveston, TX
  Abilene, TX
  Brownsville, TX
  Plano, TX
  Salt Lake City, UT
  Provo, UT
  Richmond, VA
  Norfolk, VA
  Roanoke, VA
  Seattle, WA
  Tacoma, WA
  Spokane, WA
  Olympia, WA
  Yakima, WA
  Milwaukee, WI
  Madison, WI
  Racine, WI
`);
