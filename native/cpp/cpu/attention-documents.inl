// Attention within the documents of a window: each is a sequence of its own, so that it has the bits that it has alone.

/** A document: `length` rows from row `row` of all sequences on. */
struct Document {
  int32_t row, length;
};

/** Documents of starts[B][T], in scratch memory. A status. */
static int32_t find_documents(const int32_t* starts, int64_t B, int64_t T, const Document** documents, int64_t* count) {
  *count = 0;
  if (B * T == 0) return PHYSLM_OK;
  Document* const list = (Document*)physlm_scratch(PHYSLM_SLOT_ROWS, B * T * sizeof(Document) / sizeof(float));
  if (!list) return physlm_fail(PHYSLM_OUT_OF_MEMORY, "no memory for the list of documents");
  for (int64_t i = 0; i < B * T; i++) {
    const int32_t t = (int32_t)(i % T);
    if (t > 0 && starts[i] == starts[i - 1]) {
      list[*count - 1].length++;
      continue;
    }
    if (starts[i] != t)
      return physlm_fail(PHYSLM_BAD_ARGUMENT, "[starts] expected the position at which each document begins, got %d at position %d",
                         starts[i], t);
    list[(*count)++] = {(int32_t)i, 1};
  }
  *documents = list;
  return PHYSLM_OK;
}

/** Calls each(document), a status, for all of them: side by side when there are many, else in turn on all threads. */
template <class F>
static int32_t each_document(const Document* documents, int64_t count, F each) {
  struct Job {
    const Document* documents;
    int64_t count;
    F& each;
    int32_t status[PHYSLM_MAX_THREADS];
  } job = {documents, count, each, {}};
  const auto run = [](void* context, int part, int parts) {
    Job& all = *(Job*)context;
    const Range mine = share(all.count, part, parts);
    for (int64_t i = mine.begin; i < mine.end && !all.status[part]; i++) all.status[part] = all.each(all.documents[i]);
  };
  const int threads = physlm_in_lane() ? 1 : physlm_threads(), parts = threads > 1 && count >= 4 * threads ? PHYSLM_MAX_THREADS : 1;
  if (parts > 1)
    physlm_parallel_lanes(parts, threads, run, &job);
  else
    run(&job, 0, 1);
  for (int part = 0; part < parts; part++)
    if (job.status[part]) return job.status[part];
  return PHYSLM_OK;
}

static int32_t documentAttention_forward(const physlm_tensor* in, int32_t, physlm_tensor* out, int32_t, const double* attrs,
                                         int32_t, physlm_stream*) {
  Heads heads = {leading(in[0], 2), axis(in[0], 2), axis(in[0], 1), 0, 0, 0, 0, true};
  if (int32_t status = check_heads(heads, attrs, out[0], out[1])) return status;
  const Document* documents;
  int64_t count;
  if (int32_t status = find_documents((const int32_t*)in[1].data, heads.B, heads.T, &documents, &count)) return status;
  return each_document(documents, count, [&](const Document& document) {
    Heads one = heads;
    one.B = 1, one.T = document.length;
    const int64_t row = document.row, b = row / heads.T;
    float* const lse = floats(out[1]);
    return attend_all(one, floats(in[0]) + row * heads.P, floats(out[0]) + row * heads.H * heads.K,
                      lse ? lse + b * heads.H * heads.T + row % heads.T : nullptr, heads.T);
  });
}

static int32_t documentAttention_backward(const physlm_tensor* in, int32_t, physlm_tensor* out, int32_t, const double* attrs,
                                          int32_t, physlm_stream*) {
  if (!out[0].data) return PHYSLM_OK;
  Heads heads = {leading(in[0], 2), axis(in[0], 2), axis(in[0], 1), 0, 0, 0, 0, true};
  if (int32_t status = check_heads(heads, attrs, in[2], in[3])) return status;
  const Document* documents;
  int64_t count;
  if (int32_t status = find_documents((const int32_t*)in[1].data, heads.B, heads.T, &documents, &count)) return status;
  return each_document(documents, count, [&](const Document& document) {
    Heads one = heads;
    one.B = 1, one.T = document.length;
    const int64_t row = document.row, b = row / heads.T, columns = heads.H * heads.K;
    return slopes_of_all(one, floats(in[0]) + row * heads.P, floats(in[2]) + row * columns,
                         floats(in[3]) + b * heads.H * heads.T + row % heads.T, heads.T, floats(in[4]) + row * columns,
                         floats(out[0]) + row * heads.P);
  });
}

/** Where the document of each token begins: the last position up to it with the token attrs[0], or 0. */
static int32_t documentStarts_forward(const physlm_tensor* in, int32_t, physlm_tensor* out, int32_t, const double* attrs,
                                      int32_t, physlm_stream*) {
  const int32_t* const ids = (const int32_t*)in[0].data;
  int32_t* const starts = (int32_t*)out[0].data;
  const int64_t B = leading(in[0], 1), T = axis(in[0], 1);
  for (int64_t b = 0; b < B; b++) {
    int32_t start = 0;
    for (int64_t t = 0; t < T; t++) {
      if ((double)ids[b * T + t] == attrs[0]) start = (int32_t)t;
      starts[b * T + t] = start;
    }
  }
  return PHYSLM_OK;
}
