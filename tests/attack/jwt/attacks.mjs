// Tokens that must be refused, made with npm's `jose`, so that the attacks are those which another implementation can make.
//
//     node attacks.mjs < site.json > attacks.json
//     node attacks.mjs --corpus > corpus.json        with a key, a site and a moment of its own: tests/unit/identity/corpus_test.c reads it
//
// site.json   {"jwk": private P-256 key of the server, "claims": those of a live token, "now": seconds, "strange": claims to change
//              that only the daemon's database can judge (optional)}
// attacks.json {"made_with", "public", "origin", "now", "good": [tokens that are in order], "attacks": [{"name", "token"}]}
//
// Where an attacker couldn't have the server's key the server's key is used all the same: the defect that a token is named after is its only one.
import { readFileSync } from 'node:fs'
import { createHash, createPublicKey, generateKeyPairSync } from 'node:crypto'
import { CompactSign, EncryptJWT, FlattenedSign, GeneralSign, SignJWT, UnsecuredJWT, base64url, exportJWK, exportSPKI, generateKeyPair, importJWK } from 'jose'

const text = (bytes) => new TextEncoder().encode(bytes)
const b64 = (value) => base64url.encode(text(typeof value === 'string' ? value : JSON.stringify(value)))
const HALF = 0x7fffffff800000007fffffffffffffffde737d56d38bcf4279dce5617e3192a8n
const ORDER = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n
const isLow = (token) => {
  const s = base64url.decode(token.split('.').at(-1)).slice(32)
  return BigInt('0x' + Buffer.from(s).toString('hex')) <= HALF
}

async function site() {
  if (!process.argv.includes('--corpus')) return JSON.parse(readFileSync(0, 'utf8'))
  const { privateKey } = await generateKeyPair('ES256', { extractable: true })
  const now = 1900000000
  return {
    jwk: await exportJWK(privateKey), now,
    claims: { aud: 'sequester', epoch: 3, exp: now + 3600, iat: now, iss: 'corpus.example/log', jti: '0123456789abcdef0123456789abcdef', role: 'user',
      scope: 'jobs results', sub: 'fedcba9876543210fedcba9876543210' },
  }
}

const { jwk, claims, now, strange } = await site()
const ours = await importJWK({ ...jwk, alg: 'ES256' }, 'ES256')
const publicJwk = { kty: 'EC', crv: 'P-256', x: jwk.x, y: jwk.y }
const point = Buffer.concat([Buffer.from([4]), base64url.decode(jwk.x), base64url.decode(jwk.y)])
const kid = createHash('sha256').update(point).digest('hex').slice(0, 16)
const header = { alg: 'ES256', kid, typ: 'JWT' }
const theirs = await generateKeyPair('ES256', { extractable: true })
const theirJwk = await exportJWK(theirs.publicKey)
const attacks = []
const add = (name, token) => attacks.push({ name, token })

// the lower of both signatures, which alone is taken: what is refused is refused for its name
async function low(make) {
  for (;;) {
    const token = await make()
    if (isLow(token)) return token
  }
}
const jwt = (payload, head = header, key = ours) => low(() => new SignJWT(payload).setProtectedHeader(head).sign(key))
const compact = (payload, head = header, key = ours, options = undefined) =>
  low(() => new CompactSign(text(payload)).setProtectedHeader(head).sign(key, options))

const good = await jwt(claims)
const [h, p, s] = good.split('.')
const spki = await exportSPKI(createPublicKey({ key: publicJwk, format: 'jwk' }))

// ---- no algorithm ----
add('alg none', new UnsecuredJWT(claims).encode())
for (const alg of ['none', 'None', 'NONE', 'nOnE']) {
  add(`alg ${alg}, no signature`, `${b64({ ...header, alg })}.${p}.`)
  add(`alg ${alg}, the good signature`, `${b64({ ...header, alg })}.${p}.${s}`)
}
add('alg missing', `${b64({ kid, typ: 'JWT' })}.${p}.${s}`)

// ---- HMAC with what everybody knows as its secret ----
const known = { 'public key as PEM': text(spki), 'public key as PEM without its last line end': text(spki.trimEnd()), 'public key as a point': point,
  'x of the public key': base64url.decode(jwk.x), 'public key as JWK': text(JSON.stringify(publicJwk)), 'kid': text(kid.padEnd(32, '0')), 'zeros': new Uint8Array(64) }
for (const [name, secret] of Object.entries(known)) {
  for (const alg of ['HS256', 'HS384', 'HS512']) {
    const long = new Uint8Array(Math.max(secret.length, 64))
    long.set(secret) // HMAC pads a short key with zeros itself: the same key
    add(`${alg}, secret: ${name}`, await new SignJWT(claims).setProtectedHeader({ ...header, alg }).sign(long.slice(0, Math.max(secret.length, 64))))
  }
}

// ---- other algorithms, keys of the attacker's own ----
for (const alg of ['RS256', 'PS256', 'ES384', 'ES512', 'EdDSA', 'RS512', 'PS512']) {
  const pair = await generateKeyPair(alg)
  add(`${alg}, a key of their own`, await new SignJWT(claims).setProtectedHeader({ ...header, alg }).sign(pair.privateKey))
}
add('ES256, a key of their own', await jwt(claims, header, theirs.privateKey))
add('ES256, a key of their own, its kid', await jwt(claims, { ...header, kid: createHash('sha256').update(Buffer.concat([Buffer.from([4]),
  base64url.decode(theirJwk.x), base64url.decode(theirJwk.y)])).digest('hex').slice(0, 16) }, theirs.privateKey))

// ---- kid ----
for (const bad of ['../../../../dev/null', "x' UNION SELECT 'key", `${kid}' OR '1'='1`, '/etc/passwd', 'http://127.0.0.1:1/key', '| sleep 5', '', '0', kid.toUpperCase() + 'F',
  kid + '\u0000', '%s%s%s%n', 'a'.repeat(900)]) {
  add(`kid ${JSON.stringify(bad.slice(0, 30))}, the server's key`, await jwt(claims, { ...header, kid: bad }))
  add(`kid ${JSON.stringify(bad.slice(0, 30))}, a key of their own`, await jwt(claims, { ...header, kid: bad }, theirs.privateKey))
}
add('kid missing', await jwt(claims, { alg: 'ES256', typ: 'JWT' }))

// ---- headers that bring a key, or ask for more ----
const certificate = 'MIIBszCCAVmgAwIBAgIUNotACertificateNotACertificateMAoGCCqGSM49BAMC'
for (const [name, more] of Object.entries({ jwk: { jwk: theirJwk }, jku: { jku: 'https://attacker.example/jwks.json' }, 'jku here': { jku: 'https://127.0.0.1/jwks.json' },
  x5u: { x5u: 'https://attacker.example/chain.pem' }, x5c: { x5c: [certificate] }, x5t: { x5t: 'AAAA' } })) {
  add(`header ${name}, a key of their own`, await jwt(claims, { ...header, ...more }, theirs.privateKey))
  add(`header ${name}, the server's key`, await jwt(claims, { ...header, ...more }))
}
add('header crit with a name that it knows', await compact(JSON.stringify(claims), { ...header, crit: ['exp'], exp: claims.exp }, ours, { crit: { exp: true } }))
add('header crit with a name that nobody knows', await compact(JSON.stringify(claims), { ...header, crit: ['x'], x: 1 }, ours, { crit: { x: true } }))
add('header b64 false', await low(async () => {
  const f = await new FlattenedSign(text(p)).setProtectedHeader({ ...header, b64: false, crit: ['b64'] }).sign(ours)
  return `${f.protected}.${p}.${f.signature}`
}))
for (const [name, head] of Object.entries({ 'typ missing': { alg: 'ES256', kid }, 'typ at+jwt': { ...header, typ: 'at+jwt' }, 'typ jwt': { ...header, typ: 'jwt' }, 'cty JWT': { ...header, cty: 'JWT' },
  'zip DEF': { ...header, zip: 'DEF' }, 'one more field': { ...header, a: 1 }, 'another order': { typ: 'JWT', kid, alg: 'ES256' } })) {
  add(`header ${name}`, await jwt(claims, head))
}

// ---- claims, signed with the server's key ----
const without = (name) => Object.fromEntries(Object.entries(claims).filter(([k]) => k !== name))
const changed = {
  'expired a second ago': { iat: now - 3600, exp: now - 1 }, 'expires now': { iat: now - 3600, exp: now }, 'expired long ago': { iat: now - 1e8, exp: now - 9e7 }, 'issued in an hour': { iat: now + 3600, exp: now + 7200 },
  'not before an hour from now': { nbf: now + 3600 }, 'not before, past': { nbf: now - 10 }, 'expires before it was issued': { exp: now - 10, iat: now }, 'lives ten years': { exp: now + 315360000 },
  'exp as text': { exp: String(claims.exp) }, 'exp with a fraction': { exp: claims.exp + 0.5 }, 'exp null': { exp: null }, 'exp negative': { exp: -1 }, 'exp huge': { exp: 1e300 }, 'iat null': { iat: null },
  'aud of another service': { aud: 'another' }, 'aud as a list': { aud: ['sequester'] }, 'aud with two': { aud: ['another', 'sequester'] }, 'aud in other letters': { aud: 'Sequester' },
  'iss of another site': { iss: 'attacker.example/log' }, 'iss with a line end': { iss: claims.iss + '\n' }, 'iss longer': { iss: claims.iss + '.attacker.example' }, 'iss as a list': { iss: [claims.iss] },
  'sub as a number': { sub: 1 }, 'sub short': { sub: claims.sub.slice(2) }, 'sub in capitals': { sub: claims.sub.toUpperCase() + 'A' }, 'jti short': { jti: '00' }, 'jti null': { jti: null }, 'role as a list': { role: ['operator'] },
  'role with a blank': { role: 'user operator' }, 'epoch as text': { epoch: String(claims.epoch) }, 'epoch negative': { epoch: -1 }, 'epoch beyond 32 bits': { epoch: claims.epoch + 2 ** 32 }, 'scope null': { scope: null },
  'scope of 1,800 letters': { scope: 'a'.repeat(1800) }, 'one more claim': { admin: true }, 'a claim of prototypes': { constructor: { prototype: { role: 'operator' } } },
}
for (const [name, change] of Object.entries(changed)) add(`claims: ${name}`, await jwt({ ...claims, ...change }))
for (const name of Object.keys(claims)) add(`claims: ${name} missing`, await jwt(without(name)))
add('claims: none', await compact('{}'))
add('claims: a list', await compact(JSON.stringify([claims])))
add('claims: text', await compact(JSON.stringify(JSON.stringify(claims))))
add('claims: nothing', await compact(''))
add('claims: another order', await compact(JSON.stringify(Object.fromEntries(Object.entries(claims).reverse()))))
add('claims: white space', await compact(JSON.stringify(claims, null, 1)))
add('claims: not JSON', await compact('aud=sequester&sub=' + claims.sub))
add('claims: not UTF-8', await low(() => new CompactSign(new Uint8Array([0x7b, 0xff, 0xfe, 0x7d])).setProtectedHeader(header).sign(ours)))
const body = JSON.stringify(claims).slice(0, -1)
for (const [name, value] of [['sub', '0'.repeat(32)], ['exp', now + 9e6], ['role', 'operator'], ['aud', 'sequester'], ['jti', claims.jti]]) {
  add(`claims: ${name} twice`, await compact(`${body},"${name}":${JSON.stringify(value)}}`))
  add(`claims: ${name} twice, the other first`, await compact(`{"${name}":${JSON.stringify(value)},${body.slice(1)}}`))
}
add('claims: a name spelt with an escape', await compact(JSON.stringify(claims).replace('"sub"', '"s\\u0075b"')))
for (const [name, change] of Object.entries(strange ?? {})) add(`rows: ${name}`, await jwt({ ...claims, ...change }))

// ---- spelling, lengths, other forms ----
for (let n = 1; n < good.length; n += 17) add(`cut after ${n}`, good.slice(0, n))
add('no signature', `${h}.${p}.`)
add('two parts', `${h}.${p}`)
add('four parts', `${good}.${s}`)
add('padded', `${h}.${p}.${s}==`)
add('signature of zeros', `${h}.${p}.${base64url.encode(new Uint8Array(64))}`)
add('signature as DER', `${h}.${p}.${base64url.encode(new Uint8Array([0x30, 0x44, 2, 32, ...base64url.decode(s).slice(0, 32), 2, 32, ...base64url.decode(s).slice(32)]))}`)
const raw = Buffer.from(base64url.decode(s))
const other = ORDER - BigInt('0x' + raw.subarray(32).toString('hex'))
add('the other signature of the same', `${h}.${p}.${base64url.encode(Buffer.concat([raw.subarray(0, 32), Buffer.from(other.toString(16).padStart(64, '0'), 'hex')]))}`)
add('r plus the order', `${h}.${p}.${base64url.encode(Buffer.concat([Buffer.from([0]), raw]))}`)
add('unused bits of the last letter', good.slice(0, -1) + String.fromCharCode(good.charCodeAt(good.length - 1) + 1))
add('huge', await compact(`${body},"x":"${'a'.repeat(6000)}"}`))
add('a token in a token', await compact(good, { ...header, cty: 'JWT' }))
add('JWS as JSON', JSON.stringify(await new FlattenedSign(text(JSON.stringify(claims))).setProtectedHeader(header).sign(ours)))
add('JWS as JSON with two signatures', JSON.stringify(await new GeneralSign(text(JSON.stringify(claims))).addSignature(ours).setProtectedHeader(header)
  .addSignature(theirs.privateKey).setProtectedHeader(header).sign()))
add('JWE, direct', await new EncryptJWT(claims).setProtectedHeader({ alg: 'dir', enc: 'A256GCM' }).encrypt(new Uint8Array(32)))
const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 })
add('JWE, RSA-OAEP', await new EncryptJWT(claims).setProtectedHeader({ alg: 'RSA-OAEP-256', enc: 'A256GCM' }).encrypt(rsa.publicKey))
add('JWE, ECDH-ES to the public key', await new EncryptJWT(claims).setProtectedHeader({ alg: 'ECDH-ES', enc: 'A256GCM' }).encrypt(await importJWK(publicJwk, 'ECDH-ES')))

const { version } = JSON.parse(readFileSync(new URL('node_modules/jose/package.json', import.meta.url)))
process.stdout.write(JSON.stringify({ made_with: `jose ${version}`, public: point.toString('hex'), origin: claims.iss, now, good: [good, await jwt(claims)], attacks }, null, 0)
  .replaceAll('{"name"', '\n{"name"') + '\n')
