export { eventsOf, type ShopEvent } from './events.ts'
export { DEMO_KEYS, mixed, type Played, type PlayOptions, play } from './play.ts'
export { type Page, type Session, sessions, TENANTS } from './sessions.ts'
