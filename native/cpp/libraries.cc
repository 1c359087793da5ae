#include "libraries.h"

#include <dlfcn.h>
#include <pthread.h>

#include <map>

// glibc 2.34 moved these into libc; the older versions are still there, and old systems have only them.
#if defined(__GLIBC__) && (defined(__x86_64__) || defined(__aarch64__))
#if defined(__x86_64__)
#define PHYSLM_OLDEST "GLIBC_2.2.5"
#else
#define PHYSLM_OLDEST "GLIBC_2.17"
#endif
__asm__(".symver dlopen,dlopen@" PHYSLM_OLDEST);
__asm__(".symver dlsym,dlsym@" PHYSLM_OLDEST);
__asm__(".symver dlerror,dlerror@" PHYSLM_OLDEST);
#endif

const physlm_library* load_library(const std::string& path, std::string* why) {
  static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
  static auto* loaded = new std::map<std::string, const physlm_library*>;
  pthread_mutex_lock(&lock);
  const physlm_library* library = nullptr;
  const auto known = loaded->find(path);
  if (known != loaded->end()) {
    library = known->second;
  } else if (void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL)) {
    auto entry = reinterpret_cast<const physlm_library* (*)(void)>(dlsym(handle, "physlm_cuda_library"));
    if (!entry)
      *why = "it is not a library of physlm kernels (no physlm_cuda_library)";
    else if (entry()->abi_version != PHYSLM_ABI_VERSION)
      *why = "it has ABI version " + std::to_string(entry()->abi_version) + ", expected " +
             std::to_string(PHYSLM_ABI_VERSION) + "; build it again";
    else
      (*loaded)[path] = library = entry();
  } else {
    *why = dlerror();
  }
  pthread_mutex_unlock(&lock);
  return library;
}
