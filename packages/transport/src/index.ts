export type { EmbeddedTransport } from './embedded/embedded.ts'
export * from './message.ts'
export { type OpenOptions, open, openEmbedded } from './open.ts'
export * from './transport.ts'
