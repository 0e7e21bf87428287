export { type Auth, type AuthOptions, createAuth, credentialOf } from './auth.ts'
export * from './identity.ts'
export { type JwtOptions, signToken, type TokenClaims } from './token.ts'
