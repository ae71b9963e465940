"""The same desk as in shop.py, with the parameters bound by the server: SQLAlchemy's asyncio over asyncpg, which prepares
every statement and keeps it. Called like shop.py, with a connection URL and the name of a scene; prints one line of JSON.
"""

import asyncio
import json
import sys
from datetime import date

from sqlalchemy import BigInteger, Column, Date, ForeignKey, Integer, SmallInteger, Text, func, insert, select, text, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import declarative_base, joinedload, relationship, selectinload
from sqlalchemy.orm.attributes import flag_modified

Base = declarative_base()


class Student(Base):
    __tablename__ = "student"
    __table_args__ = {"schema": "app"}
    __mapper_args__ = {"eager_defaults": True}
    student_id = Column(BigInteger, primary_key=True)
    school_id = Column(Integer)
    grade = Column(SmallInteger)
    class_no = Column(SmallInteger)
    name = Column(Text)
    gender = Column(Text)
    birth_date = Column(Date)
    id_card = Column(Text)
    phone = Column(Text)
    address = Column(Text)
    enrolled_on = Column(Date)
    guardians = relationship("Guardian", back_populates="student", lazy="raise")


class Guardian(Base):
    __tablename__ = "guardian"
    __table_args__ = {"schema": "app"}
    guardian_id = Column(BigInteger, primary_key=True)
    student_id = Column(ForeignKey(Student.student_id))
    name = Column(Text)
    relation = Column(Text)
    phone = Column(Text)
    student = relationship(Student, back_populates="guardians", lazy="raise")


async def rounds(session):
    """One statement with a bound value, often enough for a plan that the server keeps for all values."""
    pupil = select(Student.name, Student.phone, Student.id_card)
    return [list((await session.execute(pupil.where(Student.student_id == number))).one()) for number in range(20, 30)]


async def pool(session):
    """What the service of the cards does, which sees everything clear and acts for nobody."""
    shown = {"rounds": await rounds(session)}
    shown["statements"] = (await session.execute(text("SELECT count(*) FROM pg_prepared_statements"))).scalar()
    return shown


async def desk(session):
    """A teacher's day."""
    shown = {"rounds": await rounds(session)}
    page = select(Student).options(selectinload(Student.guardians)).order_by(Student.student_id).limit(50)
    students = (await session.execute(page)).scalars().all()
    shown["guardians"] = [[one.name, one.phone] for student in students for one in student.guardians]
    mothers = select(Guardian).options(joinedload(Guardian.student)).where(Guardian.relation == "母亲").limit(20)
    mothers = (await session.execute(mothers)).scalars().all()
    shown["joined"] = [[one.student.name, one.phone] for one in mothers]
    shown["found"] = (await session.execute(select(func.count()).where(Student.phone == "13800000000"))).scalar()
    shown["counted"] = (await session.execute(select(func.count()).select_from(Student))).scalar()
    # The unit of work writes what was changed; another form writes back what it has loaded.
    for number, whole in ((20, False), (21, True)):
        saved = await session.get(Student, number)
        saved.class_no = 9
        if whole:
            flag_modified(saved, "phone")
    await session.commit()
    # New rows one after another: the keys come back with RETURNING, and the statement is prepared once.
    row = insert(Student).returning(Student.student_id, Student.phone, Student.birth_date)
    shown["returned"] = []
    for number in range(8):
        values = {"school_id": 1, "grade": 5, "class_no": 1, "name": "令狐梦瑶", "gender": "女", "birth_date": date(2016, 4, 18),
                  "id_card": f"32058320160418944{number}", "phone": f"1771262042{number}",
                  "address": "江苏省苏州市昆山市人民路99号", "enrolled_on": date(2026, 11, 20)}
        enrolled, *seen = (await session.execute(row, values)).one()
        shown["returned"].append([str(one) for one in seen])
    changed = update(Student).where(Student.student_id == enrolled).values(phone="17712620430").returning(Student.phone)
    changed = changed.execution_options(synchronize_session=False)
    shown["changed"] = (await session.execute(changed)).scalar()
    session.add(Guardian(student_id=enrolled, name="令狐建国", relation="父亲", phone="17712620419"))
    await session.commit()
    try:
        await session.execute(text("UPDATE app.student SET phone = name WHERE student_id = :number"), {"number": 20})
    except DBAPIError as error:
        await session.rollback()
        shown["copied"] = [error.orig.sqlstate, str(error.orig)]
    shown["elsewhere"] = await session.get(Student, 5000) is None
    shown["statements"] = (await session.execute(text("SELECT count(*) FROM pg_prepared_statements"))).scalar()
    return shown


async def main():
    url, scene = sys.argv[1:3]
    engine = create_async_engine(url)
    async with AsyncSession(engine, expire_on_commit=False) as session:
        print(json.dumps(await {"desk": desk, "pool": pool}[scene](session)))
    await engine.dispose()


asyncio.run(main())
