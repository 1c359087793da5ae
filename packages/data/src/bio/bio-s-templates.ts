import { type Attribute, type Template, templates } from './form.js';

/**
 * Sentences of bioS, 50 for each attribute, without their subject; `{}` stands for the value.
 *
 * No beginning of a sentence is also the start of a longer one or leads to two attributes, so the words before a value
 * tell that it comes now and which it is. None says his or her: the first pronoun alone tells the gender.
 */
export const BIO_S_TEMPLATES: Readonly<Record<Attribute, readonly Template[]>> = {
  birthDate: templates(`
    was born on {}
    came into the world on {}
    entered the world on {}
    has a birth certificate dated {}
    was welcomed into the family on {}
    celebrates each birthday in memory of {}
    drew a first breath on {}
    arrived in this world on {}
    regards {} as the first of all birthdays
    was delivered by doctors on {}
    opened both eyes for the first time on {}
    had a first day of life on {}
    counts every birthday from {}
    lists {} as the day of birth
    began a lifelong journey on {}
    first saw the light of day on {}
    shares a birthday with everyone born on {}
    was brought into the world on {}
    took a first breath on {}
    lit up a delivery room on {}
    was handed to proud parents on {}
    became the newest member of the family on {}
    let out a first cry on {}
    traces the start of life back to {}
    was registered as a newborn on {}
    has celebrated birthdays ever since {}
    gives {} as the official date of birth
    uses {} as a birth date on every form
    was the baby that a family greeted on {}
    made a first appearance on {}
    reached the arms of happy parents on {}
    started the story of a life on {}
    joined the human race on {}
    owes every birthday cake to {}
    names {} as the beginning of it all
    was recorded in the register of births on {}
    burst into the world on {}
    surprised the whole neighborhood by arriving on {}
    turned a couple into parents on {}
    received a name and a cradle on {}
    holds a passport with the birth date {}
    keeps {} circled as a birthday in the calendar
    can be found among the newborns of {}
    remembers {} as the date on the birth record
    met both parents for the first time on {}
    was placed in a cradle on {}
    earned a place in the family tree on {}
    spent the very first hours of life on {}
    writes {} in the space for date of birth
    considers {} the first day of an eventful life
  `),
  birthCity: templates(`
    was born in {}
    hails from {}
    is a native of {}
    spent the earliest years in {}
    calls {} the place where everything began
    comes originally from {}
    first opened both eyes in {}
    grew up hearing stories about being born in {}
    has birth roots in {}
    was delivered at a hospital in {}
    began life in {}
    owes a birthplace to the city of {}
    took the first steps in {}
    claims {} as a birthplace
    identifies {} as the city of birth
    carries a birth certificate issued in {}
    entered life as a resident of {}
    was raised from the cradle in {}
    can trace a beginning to {}
    started life among the streets of {}
    came to life in {}
    was welcomed to the world in {}
    saw daylight first in {}
    recalls {} as the city of a first home
    honors {} as a place of birth
    belongs to the people born in {}
    made a first cry heard in {}
    arrived as a newborn in {}
    proudly names a birthplace as {}
    lived through infancy in {}
    was rocked to sleep as a baby in {}
    descends from a family settled in {}
    received a first blanket in {}
    has always been a child of {}
    was a newborn in the city of {}
    drew life from the air of {}
    learned to crawl in {}
    owns a baby photograph taken in {}
    is listed in the birth records of {}
    discovered the world from a cradle in {}
    had a first home in {}
    speaks of {} as a native city
    got a start in life in {}
    sees {} as the original home
    returns in memory to a birthplace in {}
    was brought up from birth in {}
    left a first footprint in {}
    opened the first chapter of life in {}
    shares a birthplace with the people of {}
    was christened soon after birth in {}
  `),
  university: templates(`
    graduated from {}
    studied at {}
    attended {} as an undergraduate
    earned a diploma from {}
    completed a degree program at {}
    received a bachelor degree from {}
    pursued higher education at {}
    was educated at {}
    holds a diploma awarded by {}
    spent four college years at {}
    enrolled as a student at {}
    finished an undergraduate program at {}
    was trained by professors at {}
    is counted among the graduates of {}
    walked across the graduation stage at {}
    sat through many lectures at {}
    took courses at {}
    chose {} for higher education
    was admitted to {}
    passed all final exams at {}
    lived in a dormitory at {}
    built an academic foundation at {}
    joined the student body of {}
    benefited from the teaching at {}
    gained an education at {}
    wore the graduation gown of {}
    credits {} for a solid education
    is proud to be a graduate of {}
    made many study plans at {}
    obtained an academic degree from {}
    departed {} with a degree in hand
    won a place to study at {}
    was awarded a degree by {}
    went to college at {}
    read countless textbooks in the library of {}
    found inspiring mentors at {}
    developed academic skills at {}
    belonged to the graduating class of {}
    donates every year to {} out of gratitude
    visited classrooms every weekday at {}
    accepted an offer of admission from {}
    crammed for exams at {}
    met lifelong friends while studying at {}
    paid tuition to {}
    explored many subjects at {}
    became a student at {}
    was on the graduation list of {}
    sharpened an inquiring mind at {}
    cheered for the teams of {} as a student
    wrote a final thesis at {}
  `),
  major: templates(`
    majored in {}
    studied the subject of {}
    earned a degree in {}
    specialized in {}
    focused academic work on {}
    completed coursework in {}
    selected {} as a major
    declared a major in {}
    devoted college years to {}
    pursued a degree in {}
    concentrated on {} in college
    took up the study of {}
    was drawn to the field of {}
    graduated with a degree in {}
    mastered the principles of {}
    filled every semester with classes in {}
    wrote a thesis about {}
    developed expertise in {}
    trained formally in {}
    became knowledgeable in {}
    gained a strong background in {}
    dedicated college to {}
    explored the theory of {}
    fell in love with {} during college
    passed demanding exams in {}
    acquired a deep understanding of {}
    was fascinated by the study of {}
    prepared for a career through {} courses
    sat in on every class about {}
    holds a degree in {}
    decided to major in {}
    excelled in {} as an undergraduate
    received academic training in {}
    read everything available about {}
    learned the methods of {} in lecture halls
    spent long nights studying {}
    followed a curriculum centered on {}
    picked {} from the course catalog
    solved many problems in {} for a degree
    built a reputation among classmates for {}
    found an academic passion in {}
    applied for the program in {}
    won top grades in {}
    took home a diploma in {}
    enjoyed the lectures on {} most
    was certified by examiners in {}
    invested years of effort in {}
    has formal knowledge of {}
    discussed {} with professors at length
    had a scholarly interest in {}
  `),
  employer: templates(`
    works for {}
    is employed by {}
    worked at {}
    has a job at {}
    was hired by {}
    built a career at {}
    joined the staff of {}
    earns a salary from {}
    accepted a position at {}
    holds a role at {}
    started a professional life at {}
    is on the payroll of {}
    signed a contract with {}
    contributes to projects at {}
    serves {} as a valued employee
    leads a small team at {}
    became an employee of {}
    found employment with {}
    received a job offer from {}
    was recruited by {}
    took a position with {}
    spends working hours at {}
    developed professional skills at {}
    reports to a manager at {}
    represents {} in meetings with clients
    gained work experience at {}
    was promoted within {}
    draws a paycheck from {}
    launched a career with {}
    carries a business card from {}
    is part of the workforce of {}
    wears the company badge of {}
    handles daily operations for {}
    moved up the ranks of {}
    gets paid by {}
    pursued a profession at {}
    passed a job interview at {}
    brings fresh ideas to {}
    was offered a contract by {}
    supports the customers of {}
    has devoted a career to {}
    made a living by working for {}
    helped {} grow over the years
    completed the training program of {}
    climbed the corporate ladder at {}
    stayed loyal to {} for many years
    values {} as an employer
    won a staff award at {}
    answers business calls for {}
    occupies a full time post at {}
  `),
  workCity: templates(`
    works in {}
    commutes to an office in {}
    is based in {} for work
    has a workplace in {}
    spent working years in {}
    pursued a career in {}
    holds a job located in {}
    goes to work in {}
    built a professional life in {}
    earned a living in {}
    was stationed for work in {}
    performs professional duties in {}
    found work in {}
    settled for professional reasons in {}
    reports each morning to an office in {}
    occupies a desk in {}
    took a job in {}
    conducts business from {}
    made a career in {}
    developed a professional network in {}
    rides a train to work in {}
    gained professional experience in {}
    attends business meetings in {}
    joined the workforce in {}
    relocated for a job to {}
    eats lunch with colleagues in {}
    is employed within the city limits of {}
    drives to work through {} every morning
    labored for years in {}
    started a job in {}
    maintains office hours in {}
    enjoys the business district of {}
    parks near an office building in {}
    knows the office towers of {} well
    spends weekdays in {}
    worked out of offices in {}
    accepted a transfer to {}
    moved for employment to {}
    contributed to the economy of {}
    received a work assignment in {}
    has an employer headquartered in {}
    travels on workdays to {}
    shows up for work every day in {}
    greets coworkers each morning in {}
    pays a city wage tax in {}
    chases deadlines in {}
    sits in an office overlooking {}
    advanced professionally while working in {}
    walks to a downtown office in {}
    checks in daily at a workplace in {}
  `),
};
