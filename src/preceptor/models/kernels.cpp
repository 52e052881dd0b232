// What a transformer's layer does between its matrix products, each in one walk over its numbers.
//
// PyTorch does it in some thirty operations a layer and direction, each of which fetches its
// numbers from memory and takes them back. Everything is computed in fp32; products are given and
// give T, which is NUMBER: float, or bf16 where it is compiled so. Rows are shared out among the
// threads of PyTorch's own pool, and no sum depends on how many there are. Shapes are in fused.py.

#include <cstdint>
#include <cstring>
#include <vector>
#ifdef __AVX512BF16__
#include <immintrin.h>
#endif

typedef uint16_t bf16;
typedef NUMBER T;

static inline float widened(float x) { return x; }

static inline float widened(bf16 x) {
  uint32_t bits = uint32_t(x) << 16;
  float found;
  memcpy(&found, &bits, 4);
  return found;
}

static inline void put(float *place, float x) { *place = x; }

static inline void put(bf16 *place, float x) {  // to the nearest, ties to even, as PyTorch rounds
  uint32_t bits;
  memcpy(&bits, &x, 4);
  bits = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  *place = x != x ? bf16(0x7fc0) : bf16(bits);
}

static const float MASKED = -3e38f;
static const long BLOCK = 32;  // rows whose part of a norm's weight gradient is one sum

// Sixteen numbers in fp32, in one register where a processor has it.
typedef float Lanes __attribute__((vector_size(64)));
typedef int32_t Integers __attribute__((vector_size(64)));
typedef uint32_t Wholes __attribute__((vector_size(64)));
typedef uint16_t Halves __attribute__((vector_size(32)));
static const long LANES = 16;

static inline Lanes lanes(const float *x) {
  Lanes found;
  memcpy(&found, x, sizeof(found));
  return found;
}

static inline Lanes lanes(const bf16 *x) {
  Halves halves;
  memcpy(&halves, x, sizeof(halves));
  return (Lanes)(__builtin_convertvector(halves, Wholes) << 16);
}

typedef float Eight __attribute__((vector_size(32)));
typedef float Four __attribute__((vector_size(16)));

static inline float total(Lanes x) {
  Eight eight[2];
  memcpy(eight, &x, sizeof(x));
  eight[0] += eight[1];
  Four four[2];
  memcpy(four, eight, sizeof(four));
  four[0] += four[1];
  return (four[0][0] + four[0][2]) + (four[0][1] + four[0][3]);
}

static inline float largest(Lanes x) {
  Eight eight[2];
  memcpy(eight, &x, sizeof(x));
  eight[0] = eight[0] > eight[1] ? eight[0] : eight[1];
  Four four[2];
  memcpy(four, eight, sizeof(four));
  four[0] = four[0] > four[1] ? four[0] : four[1];
  float even = four[0][0] > four[0][2] ? four[0][0] : four[0][2];
  float odd = four[0][1] > four[0][3] ? four[0][1] : four[0][3];
  return even > odd ? even : odd;
}

static inline void put(float *place, Lanes x) { memcpy(place, &x, sizeof(x)); }

static inline void put(bf16 *place, Lanes x) {
  Wholes bits = (Wholes)x;
  bits = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  bits = x != x ? Wholes{} + 0x7fc0u : bits;
  Halves halves = __builtin_convertvector(bits, Halves);
  memcpy(place, &halves, sizeof(halves));
}

// 2^n of a whole number.
static inline float power(float n) {
  int32_t bits = (int32_t(n) + 127) << 23;
  float found;
  memcpy(&found, &bits, sizeof(found));
  return found;
}

static inline Lanes power(Lanes n) {
  return (Lanes)((__builtin_convertvector(n, Integers) + 127) << 23);
}

// e^x to 2 units in the last place: 2^n e^r, |r| <= ln 2 / 2, by the polynomial of Cephes' expf.
template <class X>
static inline X exponential(X x) {
  X low = X{} - 87.0f, high = X{} + 88.0f;
  x = x < low ? low : x;
  x = x > high ? high : x;
  X n = (x * 1.44269504088896341f + 12582912.0f) - 12582912.0f;  // to the nearest
  X r = x - n * 0.693359375f + n * 2.12194440e-4f;
  X sum = r * 1.9875691500e-4f + 1.3981999507e-3f;
  sum = sum * r + 8.3334519073e-3f;
  sum = sum * r + 4.1665795894e-2f;
  sum = sum * r + 1.6666665459e-1f;
  sum = sum * r + 5.0000001201e-1f;
  return (sum * r * r + r + 1.0f) * power(n);
}

// Room for so many numbers and whole registers of them.
static inline long rounded_up(long count) { return (count + LANES - 1) / LANES * LANES; }

// Attention's weights in place of its scores, of a row with room for whole registers; what is
// behind the scores is written over, and of a row that may see nothing all weights are zero.
static inline void weigh(float *scores, long count) {
  for (long j = count; j < rounded_up(count); j++) scores[j] = MASKED;
  Lanes tops = Lanes{} + MASKED, sums = Lanes{};
  for (long j = 0; j < count; j += LANES) {
    Lanes own = lanes(scores + j);
    tops = own > tops ? own : tops;
  }
  float top = largest(tops);
  for (long j = 0; j < count; j += LANES) {
    Lanes own = lanes(scores + j);
    Lanes weights = own == MASKED ? Lanes{} : exponential(own - top);
    put(scores + j, weights);
    sums += weights;
  }
  float sum = total(sums), factor = sum == 0.0f ? 0.0f : 1.0f / sum;
  for (long j = 0; j < count; j += LANES) put(scores + j, lanes(scores + j) * factor);
}

// A head turned by the cosines and sines of its position, of which its halves are a pair.
static inline void turn(const T *x, const float *cosines, const float *sines, T *out, long width,
                        float scale) {
  long half = width / 2;
#pragma omp simd
  for (long j = 0; j < half; j++) {
    float a = widened(x[j]), b = widened(x[j + half]);
    put(out + j, (a * cosines[j] - b * sines[j]) * scale);
    put(out + j + half, (b * cosines[j + half] + a * sines[j + half]) * scale);
  }
}

// Attention of one query of one head, of V times LANES numbers. Weights are left in `scores`.
template <long V>
static void attend(const T *query, const T *key, const T *value, const uint8_t *seen, T *out,
                   float *scores, long keys) {
  Lanes asked[V], sums[V];
  for (long j = 0; j < V; j++) asked[j] = lanes(query + j * LANES), sums[j] = Lanes{};
  for (long i = 0; i < keys; i++) {
    Lanes products = Lanes{};
    for (long j = 0; j < V; j++) products += asked[j] * lanes(key + (i * V + j) * LANES);
    scores[i] = !seen || seen[i] ? total(products) : MASKED;
  }
  weigh(scores, keys);
  for (long i = 0; i < keys; i++) {
    Lanes weight = Lanes{} + scores[i];
    for (long j = 0; j < V; j++) sums[j] += weight * lanes(value + (i * V + j) * LANES);
  }
  for (long j = 0; j < V; j++) put(out + j * LANES, sums[j]);
}

// The same by the number of lanes that a head of this width fills, which is one of fused.WIDTHS.
static void attend(const T *query, const T *key, const T *value, const uint8_t *seen, T *out,
                   float *scores, long keys, long width) {
  switch (width / LANES) {
    case 1: attend<1>(query, key, value, seen, out, scores, keys); break;
    case 2: attend<2>(query, key, value, seen, out, scores, keys); break;
    case 4: attend<4>(query, key, value, seen, out, scores, keys); break;
    case 6: attend<6>(query, key, value, seen, out, scores, keys); break;
    case 8: attend<8>(query, key, value, seen, out, scores, keys); break;
  }
}

// Weights lie as [N / LANES, D / STEP, LANES, STEP]: what one step multiplies is side by side.
static const long STEP = 4 / sizeof(T);

static inline Lanes multiplied(const float *x, const float *weight, Lanes sum) {
  return sum + *x * lanes(weight);
}

static inline Lanes multiplied(const bf16 *x, const bf16 *weight, Lanes sum) {
#ifdef __AVX512BF16__
  int32_t pair;
  memcpy(&pair, x, sizeof(pair));
  __m512i pairs = _mm512_loadu_si512(weight);
  return (Lanes)_mm512_dpbf16_ps((__m512)sum, (__m512bh)_mm512_set1_epi32(pair), (__m512bh)pairs);
#else
  Wholes pairs;
  memcpy(&pairs, weight, sizeof(pairs));
  return sum + widened(x[0]) * (Lanes)(pairs << 16) + widened(x[1]) * (Lanes)(pairs & 0xffff0000u);
#endif
}

static const long AT_ONCE = 16;  // rows whose sums AVX-512's registers hold

// LANES numbers of each of M rows of x weight^T + bias.
template <long M>
static void multiply_rows(const T *x, const T *weight, const float *bias, T *out, long width,
                          long out_width) {
  Lanes sums[M];
  for (long m = 0; m < M; m++) sums[m] = bias ? lanes(bias) : Lanes{};
  for (long k = 0; k < width; k += STEP) {
    __builtin_prefetch(weight + k * LANES + 32 * LANES * STEP);
    for (long m = 0; m < M; m++)
      sums[m] = multiplied(x + m * width + k, weight + k * LANES, sums[m]);
  }
  for (long m = 0; m < M; m++) put(out + m * out_width, sums[m]);
}

// The same of so many rows, M at most, in one walk over the weights: a walk for one row alone waits
// at every step for its own sum.
template <long M>
static void multiply_most(const T *x, const T *weight, const float *bias, T *out, long rows,
                          long width, long out_width) {
  if constexpr (M > 0) {
    if (rows == M)
      multiply_rows<M>(x, weight, bias, out, width, out_width);
    else
      multiply_most<M - 1>(x, weight, bias, out, rows, width, out_width);
  }
}

// A product for few rows. oneDNN's reads weights out of memory at two thirds of its speed.
static void multiply(const T *x, const T *weight, const float *bias, T *out, long rows, long width,
                     long out_width) {
#pragma omp parallel for schedule(static)
  for (long n = 0; n < out_width; n += LANES) {
    const T *own = weight + n * width;
    const float *added = bias ? bias + n : nullptr;
    for (long m = 0; m < rows; m += AT_ONCE)
      multiply_most<AT_ONCE>(x + m * width, own, added, out + m * out_width + n,
                             rows - m < AT_ONCE ? rows - m : AT_ONCE, width, out_width);
  }
}

extern "C" {

// total = x + y, normed = total / sqrt(mean(total^2) + eps) * weight. Without y, total is x.
void add_norm(const float *x, const T *y, const float *weight, float *total, T *normed,
              float *scale, long rows, long width, float eps) {
#pragma omp parallel for schedule(static)
  for (long i = 0; i < rows; i++) {
    const float *a = x + i * width;
    float squares = 0;
    if (y) {
      const T *b = y + i * width;
      float *sum = total + i * width;
#pragma omp simd reduction(+ : squares)
      for (long j = 0; j < width; j++) {
        float value = a[j] + widened(b[j]);
        sum[j] = value;
        squares += value * value;
      }
      a = sum;
    } else {
#pragma omp simd reduction(+ : squares)
      for (long j = 0; j < width; j++) squares += a[j] * a[j];
    }
    float factor = 1.0f / __builtin_sqrtf(squares / width + eps);
    scale[i] = factor;
    T *out = normed + i * width;
#pragma omp simd
    for (long j = 0; j < width; j++) put(out + j, a[j] * factor * weight[j]);
  }
}

// `more` is what total's gradient has from elsewhere; it may be missing, as may of_y and of_weight.
void add_norm_back(const T *grad, const float *more, const float *total, const float *weight,
                   const float *scale, float *of_x, T *of_y, float *of_weight, long rows,
                   long width) {
  long blocks = (rows + BLOCK - 1) / BLOCK;
#pragma omp parallel for schedule(static)
  for (long block = 0; block < blocks; block++) {
    float *own = of_weight ? of_weight + block * width : nullptr;
    if (own) memset(own, 0, width * sizeof(float));
    for (long i = block * BLOCK; i < rows && i < (block + 1) * BLOCK; i++) {
      const T *g = grad + i * width;
      const float *a = total + i * width;
      float factor = scale[i], dot = 0;
#pragma omp simd reduction(+ : dot)
      for (long j = 0; j < width; j++) dot += widened(g[j]) * weight[j] * a[j];
      float along = dot * factor * factor * factor / width;
      float *out = of_x + i * width;
#pragma omp simd
      for (long j = 0; j < width; j++) out[j] = widened(g[j]) * weight[j] * factor - a[j] * along;
      if (own) {
#pragma omp simd
        for (long j = 0; j < width; j++) own[j] += widened(g[j]) * a[j] * factor;
      }
      if (more) {
#pragma omp simd
        for (long j = 0; j < width; j++) out[j] += more[i * width + j];
      }
      if (of_y) {
#pragma omp simd
        for (long j = 0; j < width; j++) put(of_y + i * width + j, out[j]);
      }
    }
  }
}

void add(const float *x, const T *y, float *total, long count) {
#pragma omp parallel for simd schedule(static)
  for (long i = 0; i < count; i++) total[i] = x[i] + widened(y[i]);
}

// silu(gate) * up; rows of gate and of up begin so many numbers after one another.
void swiglu(const T *gate, const T *up, T *out, long rows, long width, long gate_stride,
            long up_stride) {
#pragma omp parallel for schedule(static)
  for (long i = 0; i < rows; i++) {
    const T *g = gate + i * gate_stride, *u = up + i * up_stride;
    T *o = out + i * width;
#pragma omp simd
    for (long j = 0; j < width; j++) {
      float x = widened(g[j]);
      put(o + j, x / (1.0f + exponential(-x)) * widened(u[j]));
    }
  }
}

void swiglu_back(const T *grad, const T *gate, const T *up, T *of_gate, T *of_up, long count) {
#pragma omp parallel for simd schedule(static)
  for (long i = 0; i < count; i++) {
    float x = widened(gate[i]), g = widened(grad[i]);
    float sigmoid = 1.0f / (1.0f + exponential(-x));
    put(of_gate + i, g * widened(up[i]) * sigmoid * (1.0f + x * (1.0f - sigmoid)));
    put(of_up + i, g * x * sigmoid);
  }
}

// Rows of H heads to [B, H, L, d], rotated by position and scaled. `index` has the row of each
// place of the batch, `count` or more where there is none; without it they are in order. Without
// cosines nothing is rotated; row r has those of r modulo `period`.
void to_heads(const T *in, const float *cosines, const float *sines, const int64_t *index, T *out,
              long batch, long length, long heads, long width, long stride, long count, long period,
              float scale) {
#pragma omp parallel for schedule(static)
  for (long place = 0; place < batch * length; place++) {
    long row = index ? index[place] : place;
    T *first = out + (place / length * heads * length + place % length) * width;
    const float *c = cosines + row % period * width, *s = sines + row % period * width;
    for (long head = 0; head < heads; head++) {
      T *o = first + head * length * width;
      const T *x = in + row * stride + head * width;
      if (row >= count) {
        memset(o, 0, width * sizeof(T));
      } else if (!cosines) {
        memcpy(o, x, width * sizeof(T));
      } else {
        turn(x, c, s, o, width, scale);
      }
    }
  }
}

// The way back, which is also what takes gradients back: the turn's transpose.
void from_heads(const T *in, const float *cosines, const float *sines, const int64_t *index, T *out,
                long batch, long length, long heads, long width, long count, long period,
                float scale) {
  long half = width / 2;
#pragma omp parallel for schedule(static)
  for (long place = 0; place < batch * length; place++) {
    long row = index ? index[place] : place;
    if (row >= count) continue;
    const T *first = in + (place / length * heads * length + place % length) * width;
    const float *c = cosines + row % period * width, *s = sines + row % period * width;
    for (long head = 0; head < heads; head++) {
      const T *x = first + head * length * width;
      T *o = out + (row * heads + head) * width;
      if (!cosines) {
        memcpy(o, x, width * sizeof(T));
      } else {
#pragma omp simd
        for (long j = 0; j < half; j++) {
          float a = widened(x[j]), b = widened(x[j + half]);
          put(o + j, (a * c[j] + b * s[j + half]) * scale);
          put(o + j + half, (b * c[j + half] - a * s[j]) * scale);
        }
      }
    }
  }
}

// In place. Without a mask it is causal, and the last query sees all keys.
void softmax(T *scores, const uint8_t *mask, long batch, long heads, long queries, long keys,
             long mask_stride) {
#pragma omp parallel
  {
    std::vector<float> work(rounded_up(keys));
#pragma omp for schedule(static)
    for (long row = 0; row < batch * heads * queries; row++) {
      T *own = scores + row * keys;
      long query = row % queries, count = mask ? keys : keys - queries + query + 1;
      count = count < 0 ? 0 : count;  // more queries than keys: the first see nothing
      float *wide = work.data();
      long whole = keys / LANES * LANES, upto = rounded_up(count);
      upto = upto < whole ? upto : whole;
      for (long j = 0; j < upto; j += LANES) put(wide + j, lanes(own + j));
      for (long j = upto; j < count; j++) wide[j] = widened(own[j]);
      if (mask) {
        const uint8_t *seen = mask + row / (heads * queries) * mask_stride + query * keys;
#pragma omp simd
        for (long j = 0; j < keys; j++) wide[j] = seen[j] ? wide[j] : MASKED;
      }
      weigh(wide, count);
      for (long j = 0; j < upto; j += LANES) put(own + j, lanes(wide + j));
      for (long j = upto; j < count; j++) put(own + j, wide[j]);
      memset(own + count, 0, (keys - count) * sizeof(T));
    }
  }
}

void softmax_back(const T *weights, const T *grad, T *of_scores, long rows, long keys) {
#pragma omp parallel for schedule(static)
  for (long row = 0; row < rows; row++) {
    const T *w = weights + row * keys, *g = grad + row * keys;
    T *out = of_scores + row * keys;
    float dot = 0;
#pragma omp simd reduction(+ : dot)
    for (long j = 0; j < keys; j++) dot += widened(w[j]) * widened(g[j]);
#pragma omp simd
    for (long j = 0; j < keys; j++) put(out + j, widened(w[j]) * (widened(g[j]) - dot));
  }
}

// Attention of one query a head, R heads for each of G that have keys and values.
void single_query(const T *query, const T *key, const T *value, const uint8_t *mask, T *out,
                  long batch, long groups, long repeats, long keys, long width) {
#pragma omp parallel
  {
    std::vector<float> scores(rounded_up(keys));
#pragma omp for schedule(static)
    for (long unit = 0; unit < batch * groups; unit++) {
      const uint8_t *seen = mask ? mask + unit / groups * keys : nullptr;
      const T *k = key + unit * keys * width, *v = value + unit * keys * width;
      for (long head = unit * repeats; head < (unit + 1) * repeats; head++) {
        const T *q = query + head * width;
        T *o = out + head * width;
        attend(q, k, v, seen, o, scores.data(), keys, width);
      }
    }
  }
}

// Of each row of logits the log-probability of its token, the entropy of all, and the slope of the
// first by the logits: (1 at the token) - probabilities. The last two may be missing.
void word_numbers(const float *logits, const int64_t *tokens, float *logprobs, float *entropies,
                  T *slopes, long rows, long words) {
  long whole = words / LANES * LANES;
#pragma omp parallel for schedule(static)
  for (long row = 0; row < rows; row++) {
    const float *own = logits + row * words;
    Lanes tops = Lanes{} - __builtin_inff(), sums = Lanes{}, products = Lanes{};
    for (long j = 0; j < whole; j += LANES) {
      Lanes x = lanes(own + j);
      tops = x > tops ? x : tops;
    }
    float top = largest(tops), sum = 0, product = 0;
    for (long j = whole; j < words; j++) top = own[j] > top ? own[j] : top;
    for (long j = 0; j < whole; j += LANES) sums += exponential(lanes(own + j) - top);
    for (long j = whole; j < words; j++) sum += exponential(own[j] - top);
    // Not less their sum: beside a logit of thousands the logarithm would lose its digits.
    float rest = __builtin_logf(total(sums) + sum), logprob = own[tokens[row]] - top - rest;
    logprobs[row] = logprob;
    if (!slopes && !entropies) continue;
    T *out = slopes ? slopes + row * words : nullptr;
    for (long j = 0; j < whole; j += LANES) {
      Lanes nats = lanes(own + j) - top - rest, probability = exponential(nats);
      products += probability * nats;
      if (out) put(out + j, -probability);
    }
    for (long j = whole; j < words; j++) {
      float nats = own[j] - top - rest, probability = exponential(nats);
      product += probability * nats;
      if (out) put(out + j, -probability);
    }
    if (entropies) entropies[row] = -(total(products) + product);
    if (out) put(out + tokens[row], -__builtin_expm1f(logprob));  // a sure token keeps its digits
  }
}

struct Layer {
  const float *norm, *norm_after;
  const T *into, *out, *gate_up, *down;  // queries, keys and values are made by `into`
  const float *bias;                     // of `into`, or none
  T *keys, *values;                      // [B, G, room, d]
};

struct Sizes {
  long batch, width, heads, groups, head_width, inner, room, place;
  float eps, scale;
};

// One more position of each row through all layers, in place: what `layers.py` does with a cache.
// Its keys and values go to `place`, and it sees those from its row's start on.
void decode(const Layer *layers, long count, const Sizes *sizes, float *states,
            const float *cosines, const float *sines, const int64_t *starts) {
  long batch = sizes->batch, width = sizes->width, inner = sizes->inner;
  long heads = sizes->heads, groups = sizes->groups, d = sizes->head_width;
  long wide = (heads + 2 * groups) * d, most = wide > 2 * inner ? wide : 2 * inner;
  std::vector<T> normed(batch * width), made(batch * most), turned(batch * heads * d);
  std::vector<T> mixed(batch * heads * d), hidden(batch * inner), out(batch * width);
  std::vector<float> scale(batch);
  for (long l = 0; l < count; l++) {
    const Layer &layer = layers[l];
    add_norm(states, l ? out.data() : nullptr, layer.norm, states, normed.data(), scale.data(),
             batch, width, sizes->eps);
    multiply(normed.data(), layer.into, layer.bias, made.data(), batch, width, wide);
#pragma omp parallel
    {
      std::vector<float> scores(rounded_up(sizes->place + 1));
#pragma omp for schedule(static)
      for (long unit = 0; unit < batch * groups; unit++) {
        long row = unit / groups, group = unit % groups, repeats = heads / groups;
        long begin = unit * sizes->room, seen = sizes->place + 1 - starts[row];
        const float *c = cosines + row * d, *s = sines + row * d;
        const T *q = made.data() + row * wide + group * repeats * d;
        const T *k = made.data() + row * wide + (heads + group) * d, *v = k + groups * d;
        turn(k, c, s, layer.keys + (begin + sizes->place) * d, d, 1.0f);
        memcpy(layer.values + (begin + sizes->place) * d, v, d * sizeof(T));
        const T *keys = layer.keys + (begin + starts[row]) * d;
        const T *values = layer.values + (begin + starts[row]) * d;
        for (long r = 0; r < repeats; r++) {
          long place = (row * heads + group * repeats + r) * d;
          turn(q + r * d, c, s, turned.data() + place, d, sizes->scale);
          attend(turned.data() + place, keys, values, nullptr, mixed.data() + place, scores.data(),
                 seen, d);
        }
      }
    }
    multiply(mixed.data(), layer.out, nullptr, out.data(), batch, heads * d, width);
    add_norm(states, out.data(), layer.norm_after, states, normed.data(), scale.data(), batch,
             width, sizes->eps);
    multiply(normed.data(), layer.gate_up, nullptr, made.data(), batch, width, 2 * inner);
    swiglu(made.data(), made.data() + inner, hidden.data(), batch, inner, 2 * inner, 2 * inner);
    multiply(hidden.data(), layer.down, nullptr, out.data(), batch, inner, width);
  }
  add(states, out.data(), states, batch * width);
}

}  // extern "C"
