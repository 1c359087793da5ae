// Libraries of kernels that are loaded when they are asked for.
#ifndef PHYSLM_LIBRARIES_H
#define PHYSLM_LIBRARIES_H

#include <string>

#include "abi.h"

// Loads a library once for the process and never unloads it: its threads and its driver may still be at work. NULL: `why`.
const physlm_library* load_library(const std::string& path, std::string* why);

#endif
