export * from './message.ts'
export { type OpenOptions, open } from './open.ts'
export * from './transport.ts'
